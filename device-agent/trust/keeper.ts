/** Keeps the device's trust up to date: collects links from wherever they come, walks them, commits the result. */
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { ErrorCode } from '#schema/errors.ts';
import { TrustVersion } from '#schema/ids.ts';
import type { AgentContext } from '../context.ts';
import type { AgentState, HeldTrust } from '../state/state.ts';
import { readBundle, type ReadBundle } from './bundle.ts';
import { fetchTrustLinks } from './fetch.ts';
import { LinkBuffer } from './links.ts';
import { walkTrust } from './walk.ts';

/** Refusals that concern one link, which is dropped; any other leaves the links for a later walk. */
const KEEPS_LINKS: ReadonlySet<ErrorCode> = new Set(['trust.expired', 'trust.link-missing']);

export class TrustKeeper {
  private readonly context: AgentContext;
  private readonly commit: (state: AgentState) => Promise<unknown>;
  private readonly links = new LinkBuffer();
  private fetchedAt: number | undefined;

  /** `commit` makes the new state durable and reports it. */
  constructor(context: AgentContext, commit: (state: AgentState) => Promise<unknown>) {
    this.context = context;
    this.commit = commit;
  }

  get version(): TrustVersion {
    return this.context.held.current.trust?.version ?? TrustVersion.parse(0);
  }

  /** Takes links, CMS DER, unverified, in any order, and walks as far as they lead. Must run in the queue. Errors: `trust.*`, `message.*`, `certificate.*`. */
  async accept(ders: readonly Uint8Array[]): Promise<void> {
    for (const der of ders) this.add(readBundle(der));
    await this.walk();
  }

  /**
   * Fetches what is missing from the public listener and walks. Not more often than the shortest backoff, since a forged
   * message could ask for it. Must run in the queue. Errors: as `accept`, and `network.*`.
   */
  async fetch(): Promise<void> {
    const { clock, held, timing, signal } = this.context;
    const now = clock.monotonic();
    if (this.fetchedAt !== undefined && now - this.fetchedAt < timing.backoffMinMs) return;
    this.fetchedAt = now;
    const from = { url: held.current.registration.public, timeoutMs: timing.timeoutMs, signal };
    const links = await fetchTrustLinks(from, held.bundle?.body.version);
    await this.accept(links);
  }

  /** A bundle that came while links before it are missing. */
  get isBehind(): boolean {
    return this.links.latest > this.version;
  }

  private add(bundle: ReadBundle): void {
    const { bundle: held } = this.context.held;
    const { version, realm } = bundle.body;
    if (realm !== this.context.held.current.registration.realm) {
      throw new CroupierError('message.wrong-realm', `the trust bundle belongs to realm ${realm}`);
    }
    // A link walked before, from a directory or a broker that repeats itself.
    if (held === undefined || version > held.body.version) this.links.add(bundle);
    else if (version === held.body.version && bundle.digest !== held.digest) {
      throw new CroupierError('trust.link-forked', `another trust bundle ${version} than the one held`);
    }
  }

  private async walk(): Promise<void> {
    const { held, time, emit } = this.context;
    const { root, registration } = held.current;
    if (root === undefined) throw new CroupierError('agent.not-enrolled', 'the root of this realm is not known yet');
    const before = held.bundle;
    const links = this.links.after(before?.body.version);
    const { reached, refusal } = walkTrust({ realm: registration.realm, root, held: before }, links, time.read());
    if (refusal !== undefined && !KEEPS_LINKS.has(errorCode(refusal))) this.dropRefused(links, reached);
    if (reached !== undefined && reached !== before) {
      const { version, issuedAt } = reached.body;
      time.raise(new Date(issuedAt));
      const trust: HeldTrust = { version, digest: reached.digest, bundle: reached.der };
      const from = this.version;
      await this.commit({ ...held.current, trust });
      this.links.forgetUpTo(version);
      emit({ kind: 'trust-advanced', from, to: version });
    }
    if (refusal !== undefined) throw refusal;
  }

  private dropRefused(links: readonly ReadBundle[], reached: ReadBundle | undefined): void {
    const refused = links.find(({ body }) => body.version > (reached?.body.version ?? 0));
    if (refused !== undefined) this.links.forget(refused);
  }
}
