/** The wire that an agent sees: EST over TLS, an aedes broker over TLS, the public listener. For the agent's own tests. */
import { Buffer } from 'node:buffer';
import {
  createServer as createHttpServer,
  Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer, Server as HttpsServer } from 'node:https';
import type { Server as NetServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import { deviceUri } from '#pki/certificate/device-uri.ts';
import { encodePem, encodePemAll } from '#pki/certificate/pem.ts';
import { encodeCertsOnly } from '#pki/cms/certs-only.ts';
import { verifySignedBy } from '#pki/cms/verify.ts';
import { parseCsr } from '#pki/csr/parse.ts';
import { decodeBase64, encodeBase64 } from '#pki/est/base64.ts';
import { exportPrivateKeyPem, generateSoftwareKey } from '#pki/keys/software-key.ts';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import { Report } from '#schema/messages/report.ts';
import { Ticket } from '#schema/ticket.ts';
import { reportTopic, trustLinkTopic, trustTopic, updateTopic } from '#schema/topics.ts';
import { DeviceId } from '#schema/ids.ts';
import { MessageAuthority } from './message-authority.ts';

export interface EstRequest {
  readonly operation: string;
  readonly authorization: string | undefined;
  readonly body: string;
  /** Serial number of the client's certificate. */
  readonly client: string | undefined;
}

/** What the EST server does instead of issuing, for one request. */
export type EstFault =
  | { readonly kind: 'lose-answer' }
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    };

export interface ReceivedReport {
  readonly der: Uint8Array;
  readonly body: Report;
}

const CODE = '01234-56789-ABCDE-FGHJK';

export class DeviceSideGateway {
  readonly authority: MessageAuthority;
  readonly estRequests: EstRequest[] = [];
  readonly estFaults: EstFault[] = [];
  readonly reports: ReceivedReport[] = [];
  /** All certificates issued to devices, latest last. */
  readonly issued = new Map<string, Uint8Array[]>();
  /** Validity of what is issued. */
  validity: { readonly notBefore: Date; readonly notAfter: Date };
  /** Requests to the public listener are refused. */
  isPublicDown = false;
  /** Serial numbers that the broker refuses. */
  readonly refusedSerials = new Set<string>();
  private readonly servers: NetServer[] = [];
  private readonly sockets = new Set<TLSSocket>();
  private broker: Aedes | undefined;
  private ports = { est: 0, mqtt: 0, public: 0 };

  private constructor(authority: MessageAuthority) {
    this.authority = authority;
    const { now } = authority.pki.setting;
    this.validity = { notBefore: now, notAfter: new Date(now.getTime() + 300 * 86_400_000) };
  }

  static async start(authority?: MessageAuthority): Promise<DeviceSideGateway> {
    const gateway = new DeviceSideGateway(authority ?? (await MessageAuthority.create()));
    await gateway.listen();
    return gateway;
  }

  ticket(device: string, changes: Partial<Ticket> = {}): Ticket {
    return Ticket.parse({
      v: 1,
      type: 'ticket',
      realm: this.authority.realm,
      device,
      code: CODE,
      expiresAt: new Date(Date.now() + 86_400_000).toISOString(),
      est: `https://127.0.0.1:${this.ports.est}`,
      mqtt: `mqtts://127.0.0.1:${this.ports.mqtt}`,
      public: `http://127.0.0.1:${this.ports.public}`,
      root: certificateFingerprint(this.authority.pki.root.certificate),
      ...changes,
    });
  }

  certificateOf(device: string): Uint8Array {
    const certificate = this.issued.get(device)?.at(-1);
    if (certificate === undefined) throw new Error(`${device} has no certificate`);
    return certificate;
  }

  reportsOf(device: string): Report[] {
    return this.reports.map(({ body }) => body).filter((body) => body.device === device);
  }

  async publish(topic: string, payload: Uint8Array, retain = false): Promise<void> {
    const packet = {
      cmd: 'publish' as const,
      topic,
      payload: Buffer.from(payload),
      qos: 1 as const,
      retain,
      dup: false,
    };
    await new Promise<void>((resolve, reject) => {
      this.broker?.publish(packet, (error) => (error ? reject(error) : resolve()));
    });
  }

  sendUpdate(device: string, der: Uint8Array): Promise<void> {
    return this.publish(updateTopic(this.authority.realm, DeviceId.parse(device)), der);
  }

  sendLink(device: string, der: Uint8Array): Promise<void> {
    return this.publish(trustLinkTopic(this.authority.realm, DeviceId.parse(device)), der);
  }

  retainTrust(der: Uint8Array): Promise<void> {
    return this.publish(trustTopic(this.authority.realm), der, true);
  }

  /** Cuts every connection to the broker. */
  dropConnections(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.dropConnections();
    await new Promise<void>((resolve) => this.broker?.close(() => resolve()));
    for (const server of this.servers) {
      if (server instanceof HttpServer || server instanceof HttpsServer) server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  private async listen(): Promise<void> {
    const { pki } = this.authority;
    const { privateKey, signer } = await generateSoftwareKey('EC-P256');
    const { certificate } = await pki.issueOperational({
      kind: 'tls-server',
      commonName: 'gateway',
      spki: signer.spki,
      hosts: [
        { type: 'ip', value: '127.0.0.1' },
        { type: 'dns', value: 'localhost' },
      ],
    });
    const tls = {
      key: exportPrivateKeyPem(privateKey),
      cert: encodePemAll('CERTIFICATE', [certificate, pki.operationsCa.certificate]),
      ca: [encodePem('CERTIFICATE', pki.root.certificate), encodePem('CERTIFICATE', pki.deviceCa.certificate)],
      requestCert: true,
      rejectUnauthorized: false,
    };
    const est = createHttpsServer(tls, (request, response) => void this.answerEst(request, response));
    const publicListener = createHttpServer((request, response) => this.answerPublic(request, response));
    this.broker = await this.newBroker();
    const broker = this.broker;
    const mqtt = createTlsServer({ ...tls, rejectUnauthorized: true }, (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      if (this.refusedSerials.has(serialOf(socket))) socket.destroy();
      else broker.handle(socket);
    });
    this.ports = { est: await bound(est), mqtt: await bound(mqtt), public: await bound(publicListener) };
    this.servers.push(est, mqtt, publicListener);
  }

  private async newBroker(): Promise<Aedes> {
    const broker = await Aedes.createBroker();
    broker.on('publish', (packet, client) => {
      if (client === null || !packet.topic.endsWith('/report')) return;
      const der = packet.payload as Buffer;
      for (const [device, certificates] of this.issued) {
        if (packet.topic !== reportTopic(this.authority.realm, DeviceId.parse(device))) continue;
        this.reports.push({ der, body: verified(der, certificates) });
      }
    });
    return broker;
  }

  private async answerEst(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const operation = request.url?.split('/').at(-1) ?? '';
    const socket = request.socket as TLSSocket;
    const body = Buffer.concat(parts).toString('latin1');
    const client = socket.authorized ? serialOf(socket) : undefined;
    this.estRequests.push({ operation, authorization: request.headers.authorization, body, client });
    const { pki } = this.authority;
    if (operation === 'cacerts') {
      const all = [pki.root, pki.deviceCa, pki.operationsCa].map(({ certificate }) => certificate);
      return void response.writeHead(200).end(encodeBase64(encodeCertsOnly(all)));
    }
    if (operation === 'csrattrs') return void response.writeHead(204).end();
    const fault = this.estFaults.shift();
    if (fault?.kind === 'answer') return void response.writeHead(fault.status, fault.headers ?? {}).end(fault.body);
    const certificate = await this.issue(decodeBase64(body, { maxBytes: 65_536 }));
    if (fault?.kind === 'lose-answer') return void socket.destroy();
    response.writeHead(200, { 'Content-Type': 'application/pkcs7-mime; smime-type=certs-only' });
    response.end(encodeBase64(encodeCertsOnly([certificate]), 'lines'));
  }

  private async issue(csrDer: Uint8Array): Promise<Uint8Array> {
    const csr = parseCsr(csrDer);
    const id = csr.subjectName.commonName ?? '';
    const before = this.issued.get(id) ?? [];
    const same = before.find((der) => Buffer.compare(parseCertificate(der).spki, csr.spki) === 0);
    if (same !== undefined) return same;
    const { realm } = this.authority;
    const certificate = await this.authority.pki.issueDevice(csr.spki, {
      subject: { commonName: id, organizationalUnit: 'egm', organization: 'Casino Nürnberg' },
      subjectAltNames: [{ type: 'uri', value: deviceUri({ realm, site: 'main-floor', class: 'egm', id }) }],
      ...this.validity,
    });
    this.issued.set(id, [...before, certificate]);
    return certificate;
  }

  private answerPublic(request: IncomingMessage, response: ServerResponse): void {
    if (this.isPublicDown) return void response.writeHead(503).end();
    const { bundles } = this.authority;
    if (request.url === '/trust') {
      return void response.writeHead(200).end(JSON.stringify({ latest: bundles.at(-1)?.version ?? 0 }));
    }
    const version = Number(/^\/trust\/(\d+)$/.exec(request.url ?? '')?.[1]);
    const bundle = bundles.find((one) => one.version === version);
    if (bundle === undefined) return void response.writeHead(404).end();
    response.writeHead(200, { 'Content-Type': 'application/pkcs7-mime' }).end(bundle.der);
  }
}

function serialOf(socket: TLSSocket): string {
  return socket.getPeerX509Certificate()?.serialNumber.toLowerCase() ?? '';
}

/** The report, if one of these certificates signed it. */
function verified(der: Uint8Array, certificates: readonly Uint8Array[]): Report {
  let failure: unknown;
  for (const certificate of certificates) {
    try {
      const content = verifySignedBy(der, certificate, { maxBytes: 65_536 });
      return Report.parse(JSON.parse(Buffer.from(content).toString('utf8')));
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

async function bound(server: NetServer): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
