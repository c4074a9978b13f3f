/** The real transport: MQTT 3.1.1 over TLS by mqtt.js, one client per connection. Reconnecting is the agent's business. */
import { Buffer } from 'node:buffer';
import { MqttClient } from 'mqtt';
import { asCroupierError, CroupierError, type ErrorCode } from '#schema/errors.ts';
import { connectTls } from '../tls/connect.ts';
import type { Transport, TransportFactory, TransportRequest } from './transport.ts';

/** CONNACK return code 3 (MQTT 3.1.1, table 3.1): the server cannot serve the client now, and says nothing against it. */
const SERVER_UNAVAILABLE = 3;

/** What an error before the connection is complete says; mqtt.js gives those of a CONNACK its return code. */
function faultOf(error: Error): ErrorCode {
  const returnCode = 'code' in error && typeof error.code === 'number' ? error.code : undefined;
  if (returnCode === SERVER_UNAVAILABLE) return 'broker.unavailable';
  return returnCode === undefined ? 'network.unreachable' : 'broker.denied';
}

function startClient(socket: Awaited<ReturnType<typeof connectTls>>, request: TransportRequest): MqttClient {
  const { clientId, keepaliveSeconds, timeoutMs, will } = request;
  return new MqttClient(() => socket, {
    clientId,
    protocolId: 'MQTT',
    protocolVersion: 4,
    clean: true,
    keepalive: keepaliveSeconds,
    connectTimeout: timeoutMs,
    reconnectPeriod: 0,
    resubscribe: false,
    timerVariant: 'native',
    will: { topic: will.topic, payload: Buffer.from(will.payload), qos: 0, retain: false },
  });
}

/** Waits for CONNACK, then for SUBACK. */
async function establish(client: MqttClient, request: TransportRequest): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const late = setTimeout(() => {
    reject(new CroupierError('network.timeout', `no CONNACK within ${request.timeoutMs} ms`));
  }, request.timeoutMs);
  // A broker that refuses a certificate after the handshake (TLS 1.3) shows itself by closing.
  const closed = (): void =>
    reject(new CroupierError('broker.denied', 'the broker closed the connection before CONNACK'));
  const failed = (error: Error): void => {
    reject(asCroupierError(error, faultOf(error), `the broker does not accept the connection: ${error.message}`));
  };
  client.once('connect', () => resolve(undefined));
  client.once('close', closed);
  client.once('error', failed);
  const aborted = (): void => reject(new CroupierError('network.unreachable', 'the connection was given up'));
  request.signal?.addEventListener('abort', aborted, { once: true });
  try {
    await promise;
    const grants = await client.subscribeAsync([...request.subscriptions], { qos: 1 });
    const denied = grants.find(({ qos }) => qos > 2);
    if (denied !== undefined) throw new CroupierError('broker.denied', `the broker refuses the topic ${denied.topic}`);
  } catch (error) {
    throw asCroupierError(error, 'broker.denied', 'the broker refuses the subscriptions');
  } finally {
    clearTimeout(late);
    request.signal?.removeEventListener('abort', aborted);
    client.off('close', closed);
    client.off('error', failed);
  }
}

export const mqttTransport: TransportFactory = async (request) => {
  const url = new URL(request.url);
  const socket = await connectTls({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 8883 : Number(url.port),
    identity: request.identity,
    trust: request.trust,
    timeoutMs: request.timeoutMs,
    signal: request.signal,
  });
  socket.setNoDelay(true);
  const client = startClient(socket, request);
  let fault: Error | undefined;
  client.on('error', (error) => {
    fault = error;
  });
  client.on('message', (topic, payload) => request.onMessage(topic, payload));
  try {
    await establish(client, request);
  } catch (error) {
    client.end(true);
    socket.destroy();
    throw error;
  }
  client.once('close', () => request.onClose(fault));
  if (!client.connected) throw new CroupierError('network.unreachable', 'the connection closed at once');
  return transportOf(client, socket);
};

function transportOf(client: MqttClient, socket: { destroy(): unknown }): Transport {
  return {
    publish: async (topic, payload) => {
      const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
      try {
        await client.publishAsync(topic, bytes, { qos: 1 });
      } catch (error) {
        throw asCroupierError(error, 'network.unreachable', 'the connection ended before the broker acknowledged');
      }
    },
    close: async () => {
      await client.endAsync();
    },
    destroy: () => {
      socket.destroy();
      client.end(true);
    },
  };
}
