import { describe, expect, test } from 'vitest';
import type { AgentEvent } from '#agent/agent.ts';
import { Serial } from '#schema/ids.ts';
import { FloorObserver } from '#simulator/floor/observer.ts';
import { planFloor } from '#simulator/floor/plan.ts';

const plans = planFloor({ seed: 's', size: 4, now: new Date(0) });
const [first, second] = plans;
if (first === undefined || second === undefined) throw new Error('a floor of four has two devices');
const connected: AgentEvent = { kind: 'connected', serial: Serial.parse('01') };
const disconnected: AgentEvent = { kind: 'disconnected', code: undefined };

describe('counting phases', () => {
  test('given a floor that is off, when a device is switched on and connects, then it is counted where it is', () => {
    const observer = new FloorObserver(plans);
    expect(observer.counts().phases).toMatchObject({ off: 4, connected: 0 });
    observer.notePower(first.id, true);
    expect(observer.counts().phases).toMatchObject({ off: 3, starting: 1 });
    observer.noteEvent(first.id, connected);
    expect(observer.counts().phases).toMatchObject({ off: 3, starting: 0, connected: 1 });
  });

  test('given a device that is switched off, when its agent says that it is disconnected, then it stays off', () => {
    const observer = new FloorObserver(plans);
    observer.notePower(first.id, true);
    observer.noteEvent(first.id, connected);
    observer.notePower(first.id, false);
    observer.noteEvent(first.id, disconnected);
    expect(observer.counts().phases).toMatchObject({ off: 4, disconnected: 0 });
  });
});

describe('the goal', () => {
  test('given a goal, when devices reach and leave it, then they are counted', () => {
    const observer = new FloorObserver(plans);
    observer.setGoal(({ phase }) => phase === 'connected');
    for (const { id } of [first, second]) {
      observer.notePower(id, true);
      observer.noteEvent(id, connected);
    }
    expect(observer.counts().atGoal).toBe(2);
    observer.noteEvent(first.id, disconnected);
    expect(observer.counts().atGoal).toBe(1);
    expect(observer.of(second.id)?.isAtGoal).toBe(true);
    observer.setGoal(() => true);
    expect(observer.counts().atGoal).toBe(4);
  });

  test('given somebody who waits, when the last device arrives, then the waiting ends with true', async () => {
    const observer = new FloorObserver(plans);
    const reached = observer.until(() => observer.counts().phases.connected === 1, 60_000);
    observer.notePower(first.id, true);
    observer.noteEvent(first.id, connected);
    expect(await reached).toBe(true);
  });

  test('given somebody who waits, when nothing happens for too long, then the waiting ends with false', async () => {
    expect(await new FloorObserver(plans).until(() => false, 10)).toBe(false);
  });

  test('given somebody who waits, when it is called off, then the waiting ends with false', async () => {
    const stop = new AbortController();
    const reached = new FloorObserver(plans).until(() => false, 60_000, stop.signal);
    stop.abort();
    expect(await reached).toBe(false);
  });
});

describe('faults', () => {
  test('given errors and refused updates, then they are kept and counted by code', () => {
    const observer = new FloorObserver(plans);
    observer.notePower(first.id, true);
    observer.noteEvent(first.id, { kind: 'error', activity: 'connect', code: 'network.timeout', message: 'late' });
    observer.noteEvent(first.id, { kind: 'error', activity: 'connect', code: 'network.timeout', message: 'late' });
    expect(observer.counts().faults).toBe(2);
    expect([...observer.faultCodes()]).toEqual([['network.timeout', 2]]);
    expect(observer.faults()[0]).toMatchObject({ device: first.id, message: 'connect: late' });
  });
});
