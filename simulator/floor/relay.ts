/** Carries connections to a server from another address of this machine, as a device elsewhere on the network has it. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { CroupierError } from '#schema/errors.ts';

export interface Relay {
  /** Where to connect to, on 127.0.0.1. */
  readonly port: number;
  close(): Promise<void>;
}

/** `from`: an address of this machine. Errors: `network.unreachable`. */
export async function openRelay(
  target: { readonly host: string; readonly port: number },
  from: string,
): Promise<Relay> {
  const open = new Set<Socket>();
  const carry = (one: Socket, other: Socket): void => {
    open.add(one);
    one.on('error', () => other.destroy());
    one.on('close', () => {
      open.delete(one);
      other.destroy();
    });
    one.pipe(other);
  };
  const server = createServer((socket) => {
    const onward = connect({ ...target, localAddress: from });
    carry(socket, onward);
    carry(onward, socket);
  });
  const { promise: listening, resolve, reject } = Promise.withResolvers<undefined>();
  server.once('error', reject);
  server.listen({ host: '127.0.0.1', port: 0 }, () => resolve(undefined));
  await listening.catch((cause: unknown) => {
    throw new CroupierError('network.unreachable', 'no port for a relay', { cause });
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    close: async () => {
      const closed = new Promise((done) => server.close(done));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}
