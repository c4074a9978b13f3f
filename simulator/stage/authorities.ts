/**
 * Authorities that are replaced while a scenario goes on, as people do it: one asks, another approves, and the root signs in
 * a process of its own, as on a machine of its own.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { RouteBody } from '#schema/api/routes.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import { runCroupier } from '../process/croupier.ts';
import type { OwnStage } from './stage.ts';

type IssuingRole = 'device-ca' | 'operations-ca';
type SwitchBody = RouteBody<'authority.switch'>;

const Prepared = z.object({ keyLabel: z.string(), request: z.string().optional() });
const Ceremony = z.object({ certificateFile: z.string() });
const Anything = z.unknown();
const PRESENT = ['--by', 'kim', '--by', 'ari'];
/** Until the devices that are connected hold the bundle that names what comes next. */
const READY_WITHIN_MS = 60_000;

export class Authorities {
  private readonly stage: OwnStage;
  /** Directory of the token of the root that signs. */
  private rootToken: string;

  constructor(stage: OwnStage) {
    this.stage = stage;
    this.rootToken = join(stage.gateway.directory, 'root-token');
  }

  /** From a key in the HSM to its certificate in a trust bundle. Returns the label of the key. */
  async introduce(role: IssuingRole): Promise<string> {
    const { operators } = this.stage;
    const { client } = operators.as('key-admin');
    const asked = await client.call('authority.prepare', { body: { role } });
    const { keyLabel, request } = await operators.complete(asked, Prepared);
    if (request === undefined) throw new CroupierError('internal.unexpected', `${keyLabel} came without a request`);
    const [csr, out] = [this.file(`${keyLabel}.csr`), this.file(`${keyLabel}.pem`)];
    await writeFile(csr, request, { mode: 0o600 });
    await this.ceremony('sign', '--csr', csr, '--root-token', this.rootToken, '--out', out);
    await this.install(role, out);
    return keyLabel;
  }

  /** Another root, in a token of its own, which signs from now on. */
  async introduceRoot(): Promise<void> {
    const { realm, operator } = this.stage.gateway.installation.config;
    const [token, out] = [this.file('root-2-token'), this.file('root-2.pem')];
    await this.ceremony('root', '--realm', realm, '--operator', operator, '--root-token', token, '--out', out);
    await this.install('root', out);
    this.rootToken = token;
  }

  /** A new standby takes the place of the one before. */
  async replaceStandby(): Promise<void> {
    const { operators } = this.stage;
    const { client } = operators.as('key-admin');
    const body = { role: 'message-signer-standby' } as const;
    await operators.complete(await client.call('authority.prepare', { body }), Anything);
    await this.switchTo(body);
  }

  /** As soon as the gateway says that the devices are ready for it. */
  async switchTo(body: SwitchBody): Promise<void> {
    await this.stage.until(`the ${body.role} can be switched`, () => this.trySwitch(body), {
      patienceMs: READY_WITHIN_MS,
    });
    await this.stage.gateway.reopenOperators();
  }

  async withdraw(keyLabel: string, force: boolean): Promise<void> {
    const { operators } = this.stage;
    const { client } = operators.as('key-admin');
    await operators.complete(await client.call('authority.withdraw', { body: { keyLabel, force } }), Anything);
  }

  private async trySwitch(body: SwitchBody): Promise<true | undefined> {
    const { operators } = this.stage;
    const { client } = operators.as('key-admin');
    try {
      await operators.complete(await client.call('authority.switch', { body }), Anything);
      return true;
    } catch (error) {
      if (errorCode(error) === 'authority.state-refused') return undefined;
      throw error;
    }
  }

  private async install(role: IssuingRole | 'root', file: string): Promise<void> {
    const { operators } = this.stage;
    const { client } = operators.as('key-admin');
    const certificates = await readFile(file, 'utf8');
    await operators.complete(await client.call('authority.install', { body: { role, certificates } }), Anything);
  }

  private async ceremony(...args: readonly string[]): Promise<void> {
    await runCroupier(['ceremony', ...args, ...PRESENT], Ceremony);
  }

  private file(name: string): string {
    return join(this.stage.directory, name);
  }
}
