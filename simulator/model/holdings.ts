/** What devices hold, shared by all that hold the same: a floor at rest holds one thing, not fifty thousand. */
import type { HeldKeyring } from '#agent/state/state.ts';
import type { ReportedKeyring } from '#schema/messages/report.ts';

export interface Holding {
  readonly keyrings: readonly HeldKeyring[];
  /** As a report tells it. */
  readonly reported: ReportedKeyring[];
}

const textOf = ({ keySet, revision, active, accept, versions, destroyed }: HeldKeyring): string => {
  const held = versions.map(({ version, state }) => `${version}${state}`);
  const gone = destroyed.map(({ version, kcv, listed }) => `${version}${kcv ?? ''}${listed ? '+' : '-'}`);
  return `${keySet} ${revision} ${active ?? 0} [${accept.join()}] [${held.join()}] [${gone.join()}]`;
};

/** As in device-agent/report/build.ts. */
function reportedKeyring({ keySet, revision, active, versions, destroyed }: HeldKeyring): ReportedKeyring {
  const reported: ReportedKeyring['versions'] = versions.map(({ version, state, kcv }) => ({ version, state, kcv }));
  for (const { version, kcv, listed } of destroyed) if (listed) reported.push({ version, state: 'destroyed', kcv });
  return { keySet, revision, active, versions: reported };
}

/** One for each run: check values follow from key set and version, so that equal names mean equal keys. */
export class Holdings {
  readonly none: Holding = { keyrings: [], reported: [] };
  private readonly rings = new Map<string, HeldKeyring>();
  private readonly known = new Map<string, Holding>();
  /** Of rings that are shared already: an update leaves most of a device's as they are. */
  private readonly texts = new WeakMap<HeldKeyring, string>();

  of(keyrings: readonly HeldKeyring[]): Holding {
    // A deferred activation names its update: nobody else has the same.
    if (keyrings.some(({ deferred }) => deferred !== undefined))
      return { keyrings, reported: keyrings.map(reportedKeyring) };
    const keys = keyrings.map((ring) => this.texts.get(ring) ?? textOf(ring));
    const key = keys.join('\n');
    const found = this.known.get(key);
    if (found !== undefined) return found;
    const shared = keyrings.map((ring, index) => this.ringOf(keys[index] ?? '', ring));
    const holding = { keyrings: shared, reported: shared.map(reportedKeyring) };
    this.known.set(key, holding);
    return holding;
  }

  private ringOf(key: string, ring: HeldKeyring): HeldKeyring {
    const shared = this.rings.get(key) ?? ring;
    this.rings.set(key, shared);
    this.texts.set(shared, key);
    return shared;
  }
}
