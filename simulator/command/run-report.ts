/** How the result of a scenario is shown. */
import { secondsOf } from '../output/steps.ts';
import { writeTable } from '../output/table.ts';
import type { Output } from '../output/terminal.ts';
import { isAllWell, isHeld, type ScenarioResult } from '../stage/result.ts';

const round = (seconds: number): number => Number(seconds.toFixed(3));

/** The one line for programs. */
export function documentOf(result: ScenarioResult): string {
  const { steps, seconds, messages, ...rest } = result;
  return JSON.stringify({
    ...rest,
    ok: isAllWell(result),
    seconds: round(seconds),
    steps: steps.map((step) => ({ ...step, count: step.count ?? null, seconds: round(step.seconds) })),
    messages: { ...messages, mean: round(messages.mean) },
  });
}

const SHOWN = 5;

export function writeResult(output: Output, result: ScenarioResult): void {
  const { scenario, checks, invariants, messages, devices, seconds } = result;
  const verdict = (one: { readonly violations: readonly unknown[] }): string =>
    one.violations.length === 0 ? 'holds' : `${one.violations.length} do not`;
  output.write('\n');
  writeTable(
    output,
    [
      { title: '', align: 'left' },
      { title: 'what', align: 'left' },
      { title: 'looked at', align: 'right' },
      { title: '', align: 'left' },
    ],
    [
      ...checks.map((check) => ['', check.what, String(check.checked), verdict(check)]),
      ...invariants.map((one) => [one.id, one.what, String(one.checked), verdict(one)]),
    ],
  );
  output.write('\n');
  for (const { what, violations } of [...checks, ...invariants].filter((one) => !isHeld(one))) {
    output.write(`  ${output.paint('red', what)}\n`);
    for (const { device, what: fault } of violations.slice(0, SHOWN))
      output.write(`    ${device === null ? '' : `${device}: `}${fault}\n`);
    if (violations.length > SHOWN) output.write(`    and ${violations.length - SHOWN} more\n`);
  }
  const isWell = isAllWell(result);
  const summary = `${scenario}: ${devices} devices in ${secondsOf(seconds)}, ${messages.mean.toFixed(1)} messages each, at most ${messages.max}`;
  output.write(
    `  ${output.paint(isWell ? 'green' : 'red', `${summary}; ${isWell ? 'everything holds' : 'not everything holds'}`)}\n`,
  );
}
