import { expect, test } from 'vitest';
import { createDaemonLog } from '#agent/local/daemon-log.ts';

test('given JSON, then each line is one object; given people, then one readable line', () => {
  const json: string[] = [];
  createDaemonLog('info', true, (text) => json.push(text)).info({ serial: '0a1b' }, 'connected');
  expect(JSON.parse(json.join(''))).toEqual({
    level: 'info',
    time: expect.stringMatching(/^\d{4}-.*Z$/),
    serial: '0a1b',
    msg: 'connected',
  });
  const plain: string[] = [];
  createDaemonLog('info', false, (text) => plain.push(text)).warn(
    { serial: '0a1b', reason: 'two words', retryMs: 5 },
    'not connected',
  );
  expect(plain).toEqual([
    expect.stringMatching(/^\S+Z warn {2}not connected serial=0a1b reason="two words" retryMs=5\n$/),
  ]);
});

test('given a level, then what is below it is not logged and what is at it is', () => {
  const lines: string[] = [];
  const log = createDaemonLog('warn', true, (text) => lines.push(text));
  log.info({}, 'quiet');
  log.warn({}, 'heard');
  expect(lines).toHaveLength(1);
});

test('given a field that names a secret, then its value is not logged', () => {
  const lines: string[] = [];
  createDaemonLog('info', true, (text) => lines.push(text)).info(
    { key: 'hunter2', about: { privateKey: 'hunter2' }, code: 'input.invalid' },
    'x',
  );
  expect(lines.join('')).not.toContain('hunter2');
  expect(lines.join('')).toContain('input.invalid');
});

test('given a value with a line break, then the line stays one line', () => {
  const lines: string[] = [];
  createDaemonLog('info', false, (text) => lines.push(text)).info({ reason: 'a\n2026-01-01 error forged' }, 'x');
  expect(lines.join('').split('\n')).toHaveLength(2);
});
