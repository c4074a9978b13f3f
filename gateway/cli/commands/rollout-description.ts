/** One rollout as people read it: facts, waves, and who holds it back. Pure. */
import type { HoldingDeviceView, RolloutHoldView, RolloutSummaryView, RolloutView } from '#schema/api/views.ts';
import { durationText } from '#schema/parse.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { printable, type Paint, type Style } from '../output/text.ts';
import { subjectOf } from './rollout-progress.ts';

const STATE_STYLES: Readonly<Record<RolloutSummaryView['state'], Style>> = {
  approved: 'cyan',
  distributing: 'cyan',
  ready: 'cyan',
  active: 'green',
  retiring: 'yellow',
  retired: 'green',
  destroying: 'yellow',
  destroyed: 'dim',
  completed: 'green',
  aborted: 'dim',
  superseded: 'dim',
  compromised: 'red',
};

export function stateCell({ state, pause }: Pick<RolloutSummaryView, 'state' | 'pause'>): Cell {
  return pause === null ? { text: state, style: STATE_STYLES[state] } : { text: `${state}, paused`, style: 'red' };
}

const RIGHT = (title: string): { readonly title: string; readonly align: 'right' } => ({ title, align: 'right' });

function waveTable({ progress }: RolloutView, paint: Paint): string {
  const rows = progress.waves.map((wave): Cell[] => [
    wave.name,
    wave.state,
    wave.total,
    wave.done,
    wave.failed === 0 ? 0 : { text: String(wave.failed), style: 'red' },
    wave.waiting,
    wave.offline,
    wave.servicesBehind,
    wave.soakMs === 0 ? undefined : durationText(wave.soakMs),
    wave.soakEndsAt ?? undefined,
  ]);
  const counts = ['TARGETS', 'DONE', 'FAILED', 'WAITING', 'OFFLINE', 'SERVICES BEHIND'].map(RIGHT);
  return table(['WAVE', 'STATE', ...counts, 'SOAKS', 'SOAK ENDS'], rows, paint);
}

/** Why a device holds a rollout back, in words. */
function whyHeld({ state, code, deferredUntil }: HoldingDeviceView): string {
  const until = deferredUntil === null ? '' : `, deferred until ${deferredUntil}`;
  return `${state}${code === null ? '' : ` (${code})`}${until}`;
}

function holdText({ message, targets, until, devices }: RolloutHoldView): string {
  const lines = devices.map((device) => {
    const seen = device.connected ? 'connected' : `offline since ${device.lastSeenAt ?? 'ever'}`;
    return `      ${device.device}: ${whyHeld(device)}, ${seen}\n`;
  });
  const more = targets - devices.length;
  if (devices.length > 0 && more > 0)
    lines.push(`      and ${more} more; croupier rollout show --targets lists them\n`);
  return `  - ${printable(message)}${until === null ? '' : `, until ${until}`}\n${lines.join('')}`;
}

function targetsText({ progress }: RolloutView): string {
  const states = Object.entries(progress.byState).map(([name, devices]) => `${devices} ${name}`);
  return `${progress.total}${states.length === 0 ? '' : `: ${states.join(', ')}`}`;
}

export function describeRollout(rollout: RolloutView, paint: Paint): string {
  const { progress, pause, campaign, holds } = rollout;
  const about: [string, Cell][] = [
    ['rollout', rollout.id],
    ['what', subjectOf(rollout)],
    ['state', stateCell(rollout)],
    ...(pause === null
      ? []
      : [['paused', `${pause.at} by ${pause.by}: ${pause.reason} (${pause.code})`] satisfies [string, Cell]]),
    ...(campaign === null
      ? []
      : [['certificates', `before ${campaign.before}, by ${campaign.issuer ?? 'any CA'}`] satisfies [string, Cell]]),
    ['plan', rollout.plan],
    ['sha256', rollout.planSha256],
    ['asked by', rollout.requestedBy],
    ['approved', rollout.createdAt],
    ['starts', rollout.startAt],
    ['activated', rollout.activatedAt ?? undefined],
    ...(rollout.kind === 'key-version' ? [['retired', rollout.retiredAt ?? undefined] satisfies [string, Cell]] : []),
    ['ended', rollout.finishedAt ?? undefined],
    ['targets', targetsText(rollout)],
    ['use it', progress.using],
    ['offline, behind', progress.offlineBehind],
    ...(rollout.kind === 'key-version'
      ? [
          ['may use an old version', progress.oldInUse] satisfies [string, Cell],
          ['hold an old version', progress.oldHeld] satisfies [string, Cell],
          ['signed off', progress.signedOff] satisfies [string, Cell],
        ]
      : []),
  ];
  const held = holds.length === 0 ? '' : `\nwhat holds it back\n${holds.map(holdText).join('')}`;
  return `${facts(about, paint)}\n${waveTable(rollout, paint)}${held}`;
}
