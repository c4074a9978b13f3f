/** The difference between two policies in colour. */
import { printable, type Paint, type Style } from '../output/text.ts';

const STYLES: Readonly<Record<string, Style>> = { '+': 'green', '-': 'red', '~': 'yellow' };

/** One indented line for each change. */
export function paintChanges(changes: readonly string[], paint: Paint): string {
  if (changes.length === 0) return '  nothing\n';
  return changes.map((line) => `  ${paint(STYLES[line[0] ?? ''] ?? 'reset', printable(line))}\n`).join('');
}
