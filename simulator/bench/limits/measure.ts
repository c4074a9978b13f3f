/** Limits of this machine, each measured with the least that does the same kind of work in a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { connect } from 'node:tls';
import { MqttClient } from 'mqtt';
import { z } from 'zod';
import { exchange } from '#agent/est/http.ts';
import type { EstServer } from '#agent/est/client.ts';
import { connectTls } from '#agent/tls/connect.ts';
import { encodeBase64 } from '#pki/est/base64.ts';
import { CroupierError } from '#schema/errors.ts';
import { parseJson } from '#schema/parse.ts';
import type { Realm } from '../realm.ts';
import type { Figure } from '../result.ts';

const MEASURE_MS = 4_000;
const QUICK_MS = 500;

const duration = (quick: boolean): number => (quick ? QUICK_MS : MEASURE_MS);

interface Program extends AsyncDisposable {
  readonly firstLine: string;
}

/** Starts a program beside this file; it says one line, and ends when its standard input ends. */
async function runProgram(name: string, args: readonly string[]): Promise<Program> {
  return startBeside(new URL(`./${name}.ts`, import.meta.url), args);
}

async function startBeside(program: URL, args: readonly string[]): Promise<Program> {
  const file = fileURLToPath(program);
  const child = spawn(process.execPath, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    return {
      firstLine: line,
      [Symbol.asyncDispose]: async () => {
        child.stdin.end();
        await ended;
      },
    };
  }
  throw new CroupierError('internal.unexpected', `${file} ended without a word`);
}

/** What a program says in its one line of JSON. Errors: `internal.unexpected` when it ends without it. */
export async function runBeside<Schema extends z.ZodType>(
  program: URL,
  args: readonly string[],
  schema: Schema,
): Promise<z.infer<Schema>> {
  await using running = await startBeside(program, args);
  return parseJson(schema, running.firstLine, 'json.malformed', fileURLToPath(program));
}

const Rate = z.object({ perSecond: z.number() });
const Listening = z.object({ port: z.int() });

async function rateOf(name: string, args: readonly string[]): Promise<number> {
  await using program = await runProgram(name, args);
  return parseJson(Rate, program.firstLine, 'json.malformed', name).perSecond;
}

/** Repeats `once` with so many at a time until the time is over; how many in a second. */
async function repeat(concurrency: number, ms: number, job: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  let done = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() - begun < ms) {
      await job();
      done += 1;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  return (done * 1000) / (performance.now() - begun);
}

const tlsFiles = ({ directory }: Realm): readonly string[] => [
  join(directory, 'tls', 'gateway.key'),
  join(directory, 'tls', 'gateway.pem'),
];

/** New TLS connections with one POST that is echoed: the gateway's certificate, the agents' client, a CSR as the body. */
export async function benchHandshakes(
  realm: Realm,
  { trust, timeoutMs }: EstServer,
  csr: Uint8Array,
  { concurrency, quick }: { readonly concurrency: number; readonly quick: boolean },
): Promise<Figure> {
  await using program = await runProgram('echo', tlsFiles(realm));
  const { port } = parseJson(Listening, program.firstLine, 'json.malformed', 'echo');
  const url = new URL(`https://127.0.0.1:${port}/`);
  const body = encodeBase64(csr);
  const value = await repeat(concurrency, duration(quick), async () => {
    const socket = await connectTls({ host: url.hostname, port, trust, timeoutMs });
    try {
      await exchange({ url, method: 'POST', socket, timeoutMs, maxBytes: 65_536, body });
    } finally {
      socket.destroy();
    }
  });
  return { name: 'TLS handshakes with an echoed POST', value, unit: '/s' };
}

/** ECDSA P-256 signatures through our KeyStore, in the way that this installation signs. */
export async function benchSignatures({ directory, installation }: Realm, quick: boolean): Promise<Figure> {
  const { module, signing } = installation.config.hsm;
  const args = [join(directory, 'limit-hsm'), module, signing, String(duration(quick))];
  return { name: `HSM P-256 signatures (${signing})`, value: await rateOf('signatures', args), unit: '/s' };
}

/** Commits that have reached the disk, one row each, on the disk of the gateway's database. */
export async function benchDisk({ directory }: Realm, quick: boolean): Promise<Figure> {
  const args = [join(directory, 'limit.db'), String(duration(quick))];
  return { name: 'durable SQLite commits', value: await rateOf('commits', args), unit: '/s' };
}

const CLIENTS = 100;
const MESSAGE_OCTETS = 1_500;

/** Opens a client that answers each message with the next one, and counts both. */
async function pingPong(port: number, id: string, counted: () => void): Promise<MqttClient> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, checkServerIdentity: () => undefined });
  socket.setNoDelay(true);
  await once(socket, 'secureConnect');
  const client = new MqttClient(() => socket, {
    clientId: id,
    protocolId: 'MQTT',
    protocolVersion: 4,
    reconnectPeriod: 0,
    timerVariant: 'native',
  });
  const { promise: connected, resolve, reject } = Promise.withResolvers<undefined>();
  client.once('connect', () => resolve(undefined)).once('error', reject);
  await connected;
  const payload = Buffer.alloc(MESSAGE_OCTETS, id);
  const send = (): void => {
    client.publish(`in/${id}`, payload, { qos: 1 });
    counted();
  };
  client.on('message', () => {
    counted();
    send();
  });
  client.on('error', () => undefined);
  await client.subscribeAsync(`out/${id}`, { qos: 1 });
  send();
  return client;
}

/** Messages that aedes alone takes and sends over TLS: each one in is answered with one out, QoS 1 both ways. */
export async function benchMessages(realm: Realm, quick: boolean): Promise<Figure> {
  await using program = await runProgram('relay', tlsFiles(realm));
  const { port } = parseJson(Listening, program.firstLine, 'json.malformed', 'relay');
  let messages = 0;
  const clients = await Promise.all(
    Array.from({ length: CLIENTS }, (_, index) => pingPong(port, `client-${index}`, () => (messages += 1))),
  );
  const [begun, before] = [performance.now(), messages];
  await new Promise((done) => setTimeout(done, duration(quick)));
  const value = ((messages - before) * 1000) / (performance.now() - begun);
  for (const client of clients) client.end(true);
  return { name: `broker messages in and out, ${MESSAGE_OCTETS} octets`, value, unit: '/s' };
}
