/** A plan as people read it before they approve it. */
import type { DeviceId } from '#schema/ids.ts';
import { durationText } from '#schema/parse.ts';
import type { PlannedWave, RolloutPlan, Selector } from '#schema/rollout-plan.ts';
import type { PlannedChange } from './plan.ts';

/** More names than this are counted instead. */
const NAMED_AT_MOST = 10;

function names(devices: readonly DeviceId[]): string {
  const more = devices.length - NAMED_AT_MOST;
  return devices.slice(0, NAMED_AT_MOST).join(', ') + (more > 0 ? ` and ${more} more` : '');
}

const percentOf = (fraction: number): string => `${Number((fraction * 100).toFixed(2))} %`;

export function whatInWords(change: PlannedChange): string {
  switch (change.kind) {
    case 'key-version':
      return `key set ${change.keySet}: version ${change.toVersion} in place of ${change.fromVersion}`;
    case 'trust-bundle':
      return `trust bundle ${change.toVersion} after ${change.fromVersion}`;
    case 're-enrolment': {
      const { reason, issuer, before } = change.campaign;
      const by = issuer === undefined ? '' : ` by ${issuer}`;
      return `re-enrolment (${reason}): certificates issued before ${before.toISOString()}${by}`;
    }
  }
}

function selectorInWords(selector: Selector): string {
  const parts = [
    ...(selector.class === undefined ? [] : [`class ${selector.class.join(' or ')}`]),
    ...(selector.site === undefined ? [] : [`site ${selector.site.join(' or ')}`]),
    ...Object.entries(selector.labels ?? {}).map(([label, value]) => `${label}=${value}`),
  ];
  return parts.length === 0 ? 'all' : parts.join(', ');
}

export function shareInWords(wave: PlannedWave | undefined): string {
  switch (wave?.share.by) {
    case 'percent':
      return `${wave.share.percent} %`;
    case 'count':
      return String(wave.share.count);
    case 'selector':
      return selectorInWords(wave.share.selector);
    case 'rest':
      return 'the rest';
    case undefined:
      return '';
  }
}

function waveGates({ waves, success, errors, minimumSample }: RolloutPlan): readonly string[] {
  const judged = `${percentOf(success)} of those that took or failed it took it, at least ${minimumSample} of them`;
  return [
    ...waves.slice(1).map(({ name }, index) => {
      const before = waves[index];
      const soak =
        before === undefined || before.soakMs === 0 ? '' : ` and ${durationText(before.soakMs)} have gone by`;
      return `wave ${name} opens when wave ${before?.name} has passed (${judged})${soak}`;
    }),
    `it pauses when more than ${percentOf(errors)} of a wave's executed targets failed, from ${minimumSample} on`,
  ];
}

const stragglersInWords = ({ stragglers }: RolloutPlan): string =>
  stragglers.action === 'wait'
    ? 'those behind hold that up for as long as it takes'
    : `an alert asks for the sign-off of those still behind ${durationText(stragglers.afterMs)} after the activation`;

/** What has to be true before the rollout goes on, in order. */
export function gatesOf(change: PlannedChange, plan: RolloutPlan, services: readonly DeviceId[]): readonly string[] {
  const waves = waveGates(plan);
  const stragglers = stragglersInWords(plan);
  if (change.kind !== 'key-version') return [...waves, `it is complete when every target has taken it; ${stragglers}`];
  return [
    ...waves,
    ...(services.length === 0 ? [] : [`activation waits until these services have stored it: ${names(services)}`]),
    `activation waits until ${percentOf(plan.quorum)} of the reachable targets have stored it, in all waves`,
    `version ${change.fromVersion} is retired when no device uses it any more; ${stragglers}`,
    `version ${change.fromVersion} is destroyed when it is retired, no device depends on it, and two people agree`,
  ];
}
