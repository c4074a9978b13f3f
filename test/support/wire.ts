/**
 * A stretch of network between a device and one listener of a gateway: bytes in both directions, an address that
 * survives the gateway, and a place to cut. It looks into nothing, so TLS passes as it is.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export class Wire {
  /** Port of the listener behind the wire; undefined while there is none. */
  target: number | undefined;
  /** Asked before bytes of the gateway go on to the device; false swallows them and cuts the connection. */
  beforeAnswer: (() => Promise<boolean>) | undefined;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.server = server;
    server.on('connection', (device) => this.join(device));
  }

  static async open(): Promise<Wire> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Wire(server);
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Drops every connection, as a pulled cable does. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private join(device: Socket): void {
    if (this.target === undefined) return void device.destroy();
    const gateway = connect({ host: '127.0.0.1', port: this.target });
    for (const [one, other] of [
      [device, gateway],
      [gateway, device],
    ] as const) {
      this.sockets.add(one);
      one.setNoDelay(true);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.sockets.delete(one);
        other.destroy();
      });
    }
    device.on('data', (bytes) => gateway.write(bytes));
    device.on('end', () => gateway.end());
    gateway.on('data', (bytes: Buffer) => void this.answer(device, gateway, bytes));
    gateway.on('end', () => device.end());
  }

  private async answer(device: Socket, gateway: Socket, bytes: Buffer): Promise<void> {
    if (this.beforeAnswer === undefined) return void device.write(bytes);
    gateway.pause();
    const passes = await this.beforeAnswer();
    if (!passes) return void device.destroy();
    device.write(bytes);
    gateway.resume();
  }
}
