/** A realm made for one run in a directory of its own, with a gateway that can be stopped, killed and started again. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse as parseToml, stringify as printToml } from 'smol-toml';
import { z } from 'zod';
import type { ConfigDocument } from '#schema/config.ts';
import { CroupierError } from '#schema/errors.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import type { GatewayAddresses } from '../floor/floor.ts';
import { addressesOf, readInstallation, type Installation } from '../operator/installation.ts';
import { openOperators, type Operators } from '../operator/operators.ts';
import { runCroupier } from '../process/croupier.ts';
import { startGatewayProcess, type GatewayProcess, type Ports } from '../process/gateway.ts';
import { countLogErrors, type LogErrors } from '../process/log-errors.ts';
import { lastingPorts } from '../process/ports.ts';
import type { GatewayAtHand } from './gateway-at-hand.ts';

export interface RealmOptions {
  readonly policy: PolicyDocument;
  /** Goes over what `croupier init` writes. */
  readonly config: Partial<ConfigDocument>;
  /** The directory stays when all is over. */
  readonly keep: boolean;
}

const FOUNDERS = ['kim=key-admin', 'dana=device-engineer', 'ari=approver', 'audrey=auditor'];
const HOST = '127.0.0.1';

export class OwnGateway implements GatewayAtHand {
  readonly directory: string;
  readonly installation: Installation;
  readonly addresses: GatewayAddresses;
  private readonly ports: Ports;
  private readonly log: string;
  private process: GatewayProcess | undefined;
  private people: Operators | undefined;
  readonly died: Promise<never>;
  private readonly fail: (error: unknown) => void;

  private constructor(directory: string, installation: Installation, ports: Ports) {
    this.directory = directory;
    this.installation = installation;
    this.ports = ports;
    this.log = join(directory, 'log', 'gateway.log');
    const byName = addressesOf(installation, { pid: 0, startedAt: '', host: HOST, ports });
    const byAddress = (url: string): string => url.replace('localhost', HOST);
    // With the address instead of the name, so that no resolver has a part in it.
    this.addresses = {
      ...byName,
      est: byAddress(byName.est),
      mqtt: byAddress(byName.mqtt),
      public: byAddress(byName.public),
    };
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.died = promise;
    this.fail = reject;
  }

  /** `croupier init` in a temporary directory, and a gateway that runs. Errors: those of both. */
  static async open({ policy, config, keep }: RealmOptions): Promise<OwnGateway & AsyncDisposable> {
    await using stack = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'croupier-sim-'));
    stack.defer(() => (keep ? undefined : rm(directory, { recursive: true, force: true })));
    const policyFile = join(directory, 'policy.yaml');
    await writeFile(policyFile, JSON.stringify(policy), { mode: 0o600 });
    const data = join(directory, 'data');
    const founders = FOUNDERS.flatMap((founder) => ['--founder', founder]);
    const about = ['--realm', 'sim', '--operator', 'Example Casino', '--policy', policyFile];
    await runCroupier(['--data', data, 'init', ...about, ...founders], z.object({ ceremonies: z.array(z.unknown()) }));
    await changeConfig(join(data, 'croupier.toml'), config);
    const gateway = new OwnGateway(data, await readInstallation(data), await lastingPorts(HOST));
    stack.defer(() => gateway.stop());
    await gateway.start();
    const owned = stack.move();
    return Object.assign(gateway, { [Symbol.asyncDispose]: () => owned.disposeAsync() });
  }

  get operators(): Operators {
    if (this.people !== undefined) return this.people;
    throw new CroupierError('network.unreachable', 'the gateway does not run');
  }

  get pid(): number {
    if (this.process !== undefined) return this.process.run.pid;
    throw new CroupierError('network.unreachable', 'the gateway does not run');
  }

  /** On the same ports as before. Errors: those of the gateway. */
  async start(): Promise<void> {
    const process = await startGatewayProcess({ directory: this.directory, ports: this.ports, log: this.log });
    this.process = process;
    process.died.catch(this.fail);
    this.people = await openOperators(await readInstallation(this.directory), process.run);
  }

  /** Operators begin anew, with the root that the gateway's certificate has now. */
  async reopenOperators(): Promise<void> {
    const run = this.process?.run;
    if (run === undefined) throw new CroupierError('network.unreachable', 'the gateway does not run');
    const before = this.people;
    this.people = await openOperators(await readInstallation(this.directory), run);
    before?.close();
  }

  async stop(): Promise<void> {
    await this.leave()?.stop();
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.leave()?.kill();
  }

  logErrors(isExpected: (message: string) => boolean): Promise<LogErrors> {
    return countLogErrors(this.log, 0, isExpected);
  }

  private leave(): GatewayProcess | undefined {
    const { process, people } = this;
    this.process = undefined;
    this.people = undefined;
    people?.close();
    return process;
  }
}

async function changeConfig(file: string, changes: Partial<ConfigDocument>): Promise<void> {
  const document = parseToml(await readFile(file, 'utf8'));
  await writeFile(file, printToml({ ...document, ...changes }), { mode: 0o600 });
}
