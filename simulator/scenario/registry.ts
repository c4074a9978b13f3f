/** All scenarios, in the order in which they are listed. */
import { CroupierError } from '#schema/errors.ts';
import { badWave } from './bad-wave.ts';
import { cloned } from './cloned.ts';
import { deadClocks } from './dead-clock.ts';
import { diskRestored } from './disk-restored.ts';
import { expiredCertificate } from './expired-certificate.ts';
import { gatewayRestored } from './gateway-restored.ts';
import { killBetweenWaves } from './kill-between-waves.ts';
import { lostPowerBeforeReport } from './lost-power-before-report.ts';
import { messageSigner } from './message-signer.ts';
import { missedTrust } from './missed-trust.ts';
import { missedVersions } from './missed-versions.ts';
import { newIssuingCa } from './new-issuing-ca.ts';
import { newTlsRoot } from './new-tls-root.ts';
import { powerCut } from './power-cut.ts';
import { stolen } from './stolen.ts';
import { stragglers } from './stragglers.ts';
import type { Scenario } from './scenario.ts';

export const SCENARIOS: readonly Scenario[] = [
  missedVersions,
  missedTrust,
  expiredCertificate,
  newTlsRoot,
  messageSigner,
  deadClocks,
  newIssuingCa,
  gatewayRestored,
  diskRestored,
  cloned,
  lostPowerBeforeReport,
  powerCut,
  stolen,
  stragglers,
  badWave,
  killBetweenWaves,
];

/** Errors: `input.invalid`, naming those that there are. */
export function scenarioNamed(name: string): Scenario {
  const found = SCENARIOS.find((scenario) => scenario.name === name);
  if (found !== undefined) return found;
  const names = SCENARIOS.map((scenario) => scenario.name).join(', ');
  throw new CroupierError('input.invalid', `there is no scenario ${name}; there are ${names}`);
}
