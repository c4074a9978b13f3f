/** relay.ts KEY CERTIFICATE: bare aedes over TLS; what comes on in/ID goes out on out/ID. Ends with its standard input. */
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import { Aedes } from 'aedes';

const [key = '', cert = ''] = process.argv.slice(2);
const aedes = await Aedes.createBroker();
aedes.on('publish', (packet, client) => {
  if (client === null || !packet.topic.startsWith('in/')) return;
  const { payload } = packet;
  const topic = `out/${packet.topic.slice(3)}`;
  aedes.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, () => undefined);
});
const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (socket) => {
  socket.setNoDelay(true);
  aedes.handle(socket);
});
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`);
});
process.stdin.on('end', () => process.exit()).resume();
