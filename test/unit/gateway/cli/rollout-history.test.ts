import { describe, expect, test } from 'vitest';
import { historyText } from '#gateway/cli/commands/rollout-history.ts';
import { paintWith } from '#gateway/cli/output/text.ts';
import { HistoryStepView } from '#schema/api/views.ts';
import { approvalId, rolloutId } from '#test/support/store-fixtures.ts';

const AT = '2026-03-01T12:00:00.000Z';
const entry = { rollout: rolloutId(1), at: AT, code: null };
const alone = { by: 'grace', approval: null, approvedBy: [], reason: null };
const approved = { by: 'ada', approval: approvalId(2), approvedBy: ['hedy'] };

const started = HistoryStepView.parse({
  kind: 'rollout',
  id: 1,
  ...entry,
  step: 'started',
  ...approved,
  reason: 'quarterly',
  details: { keySet: 'wallet-kek', from: 1, to: 2, plan: 'careful', planSha256: 'ab'.repeat(32) },
});
const paused = HistoryStepView.parse({
  kind: 'rollout',
  id: 3,
  ...entry,
  code: 'rollout.errors-exceeded',
  step: 'paused',
  ...alone,
  by: 'the gateway',
  reason: 'wave canary: 2 of 4 failed',
  details: { named: ['egm-1', 'egm-2'] },
});
const pending = HistoryStepView.parse({
  kind: 'target',
  id: 2,
  ...entry,
  device: 'egm-1',
  from: null,
  to: 'pending',
  word: null,
});
const refused = HistoryStepView.parse({ ...pending, id: 4, from: 'pending', to: 'refused', code: 'cms.malformed' });
const signedOff = HistoryStepView.parse({
  ...pending,
  id: 5,
  from: 'pending',
  word: { step: 'signed-off', ...approved, reason: 'sold' },
});

const lines = (...args: Parameters<typeof historyText>): readonly string[] =>
  historyText(...args)
    .split('\n')
    .map((line) => line.split(/ {2,}/).join(' | '));
const plain = paintWith(false);

describe('the history of a rollout', () => {
  test('given its own steps, then each stands with who, whose approval, why, and its facts without what never changes', () => {
    expect(lines([started, paused], [], plain)).toEqual([
      'AT | STEP | BY | APPROVED BY | WHY | DETAILS',
      `${AT} | started | ada | hedy, approval ${approvalId(2)} | quarterly | plan careful; planSha256 abababababab`,
      `${AT} | paused | the gateway | - | rollout.errors-exceeded: wave canary: 2 of 4 failed | named egm-1, egm-2`,
      '2 steps',
      '',
    ]);
  });

  test('given those of targets, too, then the devices stand beside them', () => {
    expect(lines([pending, paused, refused], ['DEVICE'], plain).map((line) => line.split(' | ').slice(1, 3))).toEqual([
      ['DEVICE', 'STEP'],
      ['egm-1', 'pending'],
      ['-', 'paused'],
      ['egm-1', 'pending to refused'],
      [],
      [],
    ]);
  });
});

test('given the history of a device, then its rollouts stand beside the steps, and what people said of it', () => {
  expect(lines([pending, signedOff], ['ROLLOUT'], plain)).toEqual([
    'AT | ROLLOUT | STEP | BY | APPROVED BY | WHY',
    `${AT} | ${rolloutId(1)} | pending | - | - | -`,
    `${AT} | ${rolloutId(1)} | signed-off: pending | ada | hedy, approval ${approvalId(2)} | sold`,
    '2 steps',
    '',
  ]);
});
