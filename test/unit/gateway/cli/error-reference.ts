/** docs/errors.md out of the catalogue: `node test/unit/gateway/cli/error-reference.ts > docs/errors.md`. */
import { ERROR_CATALOGUE, ERROR_CODES } from '#schema/errors.ts';
import { exitCodeOf } from '#schema/exit-code.ts';

const HEADER = `# Error codes

Every fault that Croupier can name. A code is stable: programs may depend on it. The message beside it says what happened
here, to what; it holds no secret. Generated from \`schema/errors.ts\` by \`test/unit/gateway/cli/error-reference.ts\`.

Over HTTP an error is a problem document (RFC 9457) with \`code\`, \`detail\` and \`remedy\`; a program prints it and
[exits](cli.md#errors-and-exit-codes) with the number in the last column.
`;

const areaOf = (code: string): string => code.slice(0, code.indexOf('.'));

/** The whole file. */
export function errorReference(): string {
  const areas = [...new Set(ERROR_CODES.map(areaOf))];
  const sections = areas.map((area) => {
    const rows = ERROR_CODES.filter((code) => areaOf(code) === area).map((code) => {
      const { summary, remedy } = ERROR_CATALOGUE[code];
      return `| \`${code}\` | ${summary} | ${remedy} | ${exitCodeOf(code)} |`;
    });
    return [
      '',
      `## ${area}`,
      '',
      '| code | what happened | what to do | exit |',
      '|---|---|---|---|',
      ...rows,
      '',
    ].join('\n');
  });
  return HEADER + sections.join('');
}

if (import.meta.main) process.stdout.write(errorReference());
