/**
 * Rotating authorities of a casino as people do it: one asks over the operator API, another approves, and the root signs
 * in a process of its own (`croupier ceremony`), as it would on a machine of its own.
 */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { ApiClient } from '#gateway/cli/client/api-client.ts';
import type { CommandAnswer } from '#schema/api/commands.ts';
import { errorCode } from '#schema/errors.ts';
import type { Casino } from './casino.ts';

const run = promisify(execFile);
const CLI = new URL('../../gateway/cli/main.ts', import.meta.url).pathname;
const Prepared = z.object({ keyLabel: z.string(), request: z.string().optional() });

type Role = 'device-ca' | 'operations-ca' | 'root' | 'message-signer' | 'message-signer-standby';

export class AuthorityRotation {
  private readonly casino: Casino;
  /** Directory of the token of the root that signs. */
  rootToken: string;

  constructor(casino: Casino) {
    this.casino = casino;
    this.rootToken = casino.data.rootToken;
  }

  private do(ask: (api: ApiClient) => Promise<CommandAnswer>): Promise<unknown> {
    return this.casino.byTwo('ada', ask);
  }

  private async ceremony(...args: readonly string[]): Promise<void> {
    await run(process.execPath, [CLI, 'ceremony', ...args, '--by', 'ada', '--by', 'alan']);
  }

  private file(name: string): string {
    return path.join(this.casino.data.root, name);
  }

  /** From the key in the HSM to the certificate in a trust bundle; returns the label of the key. */
  async introduce(role: 'device-ca' | 'operations-ca'): Promise<string> {
    const made = Prepared.parse(await this.do((api) => api.call('authority.prepare', { body: { role } })));
    const [csr, out] = [this.file(`${made.keyLabel}.csr`), this.file(`${made.keyLabel}.pem`)];
    await writeFile(csr, made.request ?? '');
    await this.ceremony('sign', '--csr', csr, '--root-token', this.rootToken, '--out', out);
    await this.install(role, out);
    return made.keyLabel;
  }

  /** A second root in a token of its own, which signs from now on. */
  async introduceRoot(): Promise<void> {
    const { realm, operator } = this.casino.config;
    const [token, out] = [this.file('root-2-token'), this.file('root-2.pem')];
    await this.ceremony('root', '--realm', realm, '--operator', operator, '--root-token', token, '--out', out);
    await this.install('root', out);
    this.rootToken = token;
  }

  private async install(role: 'device-ca' | 'operations-ca' | 'root', file: string): Promise<void> {
    const certificates = await readFile(file, 'utf8');
    await this.do((api) => api.call('authority.install', { body: { role, certificates } }));
  }

  async prepareStandby(): Promise<void> {
    await this.do((api) => api.call('authority.prepare', { body: { role: 'message-signer-standby' } }));
  }

  /** Waits until the gateway says that the devices are ready for it. */
  async switchTo(role: Role, how: { readonly compromised?: boolean } = {}): Promise<void> {
    await this.casino.until(
      () =>
        this.do((api) => api.call('authority.switch', { body: { role, ...how } })).then(
          () => true,
          (error: unknown) => {
            if (errorCode(error) !== 'authority.state-refused') throw error;
            return false;
          },
        ),
      () => this.casino.store.authorities(),
    );
  }

  async withdraw(keyLabel: string, how: { readonly force?: boolean } = {}): Promise<void> {
    await this.do((api) => api.call('authority.withdraw', { body: { keyLabel, ...how } }));
  }
}
