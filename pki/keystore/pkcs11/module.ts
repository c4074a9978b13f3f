/**
 * Loading and initialising PKCS#11 modules. Initialisation belongs to the process, not to who asks for it, so all
 * users of one module share it by reference count: the first initialises, the last finalises. A loaded library stays
 * loaded, since unloading one that has threads or exit handlers is not safe.
 *
 * SoftHSM2 reads the environment variable SOFTHSM2_CONF when it is initialised. Two configurations can therefore be
 * used one after the other in one process (close every user of the first), never at the same time.
 */
import { realpathSync } from 'node:fs';
import pkcs11js, { type PKCS11 } from 'pkcs11js';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { returnValueOf } from './errors.ts';

/** Whoever holds sessions of a module, so that they can be brought to rest before it is finalised. */
export interface ModuleClient {
  /** Starts nothing more; true once nothing runs, false if something still runs at the deadline. */
  quiesce(timeoutMs: number): Promise<boolean>;
  resume(): void;
}

export interface Pkcs11Module {
  readonly path: string;
  readonly api: PKCS11;
  /** Rises whenever all sessions and handles have become void. */
  readonly generation: number;
  /**
   * Finalises and initialises the module, with every client at rest; does nothing if that has happened since
   * `observed` was the generation. Errors: `hsm.unavailable`.
   */
  reinitialise(observed: number, timeoutMs: number): Promise<void>;
  attach(client: ModuleClient): void;
  /** Gives the use up; the last one finalises the module, unless `abandon` says that a call still runs in it. */
  release(client: ModuleClient | undefined, abandon?: boolean): void;
}

const RETRY_AFTER_SECONDS = 5;

class SharedModule implements Pkcs11Module {
  readonly path: string;
  readonly api: PKCS11;
  generation = 0;
  uses = 0;
  private readonly clients = new Set<ModuleClient>();
  private initialised = false;
  /** False when another thread of this process initialised the module: then it is not ours to finalise. */
  private owned = false;
  private configuration: string | undefined;
  private renewal: Promise<void> | undefined;

  constructor(path: string, api: PKCS11) {
    this.path = path;
    this.api = api;
  }

  acquire(): void {
    if (this.uses === 0) {
      this.configuration = process.env['SOFTHSM2_CONF'];
      this.initialise();
    } else if (this.configuration !== process.env['SOFTHSM2_CONF']) {
      throw new CroupierError(
        'config.invalid',
        `${this.path} is in use with SOFTHSM2_CONF=${this.configuration ?? ''}; close its key stores before using another configuration`,
      );
    }
    this.uses += 1;
  }

  attach(client: ModuleClient): void {
    this.clients.add(client);
  }

  release(client: ModuleClient | undefined, abandon = false): void {
    if (client !== undefined) this.clients.delete(client);
    this.uses -= 1;
    if (this.uses === 0 && !abandon) this.finalise();
  }

  async reinitialise(observed: number, timeoutMs: number): Promise<void> {
    if (this.generation !== observed && this.initialised) return;
    this.renewal ??= this.renew(timeoutMs).finally(() => {
      this.renewal = undefined;
    });
    await this.renewal;
  }

  private async renew(timeoutMs: number): Promise<void> {
    const clients = [...this.clients];
    try {
      const atRest = await Promise.all(clients.map((client) => client.quiesce(timeoutMs)));
      if (!this.owned || atRest.includes(false)) {
        throw new CroupierError(
          'hsm.unavailable',
          `${this.path} cannot be initialised again while ${this.owned ? 'a call to it has not returned' : 'another thread uses it'}`,
          { retryAfter: RETRY_AFTER_SECONDS },
        );
      }
      if (this.uses === 0) return;
      this.finalise();
      this.initialise();
    } finally {
      for (const client of clients) client.resume();
    }
  }

  private initialise(): void {
    const environment = process.env['SOFTHSM2_CONF'];
    if (this.configuration !== undefined) process.env['SOFTHSM2_CONF'] = this.configuration;
    try {
      // Without this flag modules skip their locks, and parallel calls from libuv's threads corrupt the heap.
      this.api.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
      this.owned = true;
    } catch (error) {
      const value = returnValueOf(error);
      if (value !== 'CKR_CRYPTOKI_ALREADY_INITIALIZED') {
        throw new CroupierError(
          'hsm.unavailable',
          `${this.path} cannot be initialised (${value ?? errorMessage(error)}); for SoftHSM2 check that SOFTHSM2_CONF names a configuration whose token directory exists`,
          { cause: error, retryAfter: RETRY_AFTER_SECONDS },
        );
      }
      this.owned = false;
    } finally {
      if (this.configuration !== undefined && environment !== undefined) process.env['SOFTHSM2_CONF'] = environment;
    }
    this.initialised = true;
  }

  private finalise(): void {
    this.generation += 1;
    this.initialised = false;
    if (!this.owned) return;
    try {
      this.api.C_Finalize();
    } catch (error) {
      if (returnValueOf(error) === undefined) throw error;
      // It was not initialised or could not say goodbye to its device: initialising decides.
    }
  }
}

const loaded = new Map<string, SharedModule>();

/** Loads (once) and initialises (for the first user) a module. Errors: `hsm.module-missing`, `hsm.unavailable`, `config.invalid`. */
export function acquireModule(path: string): Pkcs11Module {
  const module = load(path);
  module.acquire();
  return module;
}

function load(path: string): SharedModule {
  try {
    const real = realpathSync(path);
    const known = loaded.get(real);
    if (known !== undefined) return known;
    const api = new pkcs11js.PKCS11();
    api.load(real);
    const module = new SharedModule(path, api);
    loaded.set(real, module);
    return module;
  } catch (error) {
    throw new CroupierError(
      'hsm.module-missing',
      `the PKCS#11 module ${path} cannot be loaded: ${errorMessage(error)}`,
      { cause: error, detail: { module: path } },
    );
  }
}
