/** What every implementation of the Broker port keeps. `broker.test.ts` runs it against all of them. */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Broker, Presence, ReportArrival } from '#gateway/ports/broker.ts';
import { DeviceId, type Realm } from '#schema/ids.ts';
import { reportTopic, statusTopic, trustLinkTopic, trustTopic, updateTopic } from '#schema/topics.ts';

/** A device's connection, subscribed to all that it may read. */
export interface ContractDevice {
  readonly received: readonly { readonly topic: string; readonly payload: Uint8Array }[];
  readonly open: boolean;
  /** Resolves whether or not the broker takes it. */
  publish(topic: string, payload: Uint8Array): Promise<void>;
  leave(): Promise<void>;
  /** As a power cut does. */
  vanish(): Promise<void>;
}

export interface BrokerUnderTest {
  readonly realm: Realm;
  readonly broker: Broker;
  connect(device: DeviceId): Promise<ContractDevice>;
  stop(): Promise<void>;
}

export interface BrokerAbilities {
  /** The broker sees connections itself: it can end them and tell why they ended. */
  readonly ownsConnections: boolean;
}

export function describeBroker(name: string, abilities: BrokerAbilities, start: () => Promise<BrokerUnderTest>): void {
  describe(`Broker contract: ${name}`, () => {
    const [egm, kiosk] = [DeviceId.parse('egm-0001'), DeviceId.parse('kiosk.7_b')];
    let under: BrokerUnderTest;
    let reports: ReportArrival[];
    let presence: Presence[];

    beforeEach(async () => {
      under = await start();
      reports = [];
      presence = [];
      under.broker.onReport((arrival) => reports.push({ ...arrival, payload: Uint8Array.from(arrival.payload) }));
      under.broker.onPresence((change) => presence.push(change));
    });
    afterEach(() => under.stop());

    const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 10 });
    const there = (device: DeviceId): Promise<void> => until(() => expect(under.broker.isConnected(device)).toBe(true));

    /** A report that came through shows that all that was sent before it has been judged. */
    async function settle(device: ContractDevice, id: DeviceId): Promise<void> {
      const marker = randomBytes(16);
      await device.publish(reportTopic(under.realm, id), marker);
      await until(() => expect(reports.some(({ payload }) => marker.equals(payload))).toBe(true));
    }

    it('given a connected device, when its update topic is published, then it gets exactly these bytes, in order', async () => {
      const device = await under.connect(egm);
      await there(egm);
      const payloads = [new Uint8Array([0, 255, 10, 0]), Uint8Array.from(randomBytes(20_000)), new Uint8Array([1])];
      for (const payload of payloads) await under.broker.publish(updateTopic(under.realm, egm), payload);
      await until(() => expect(device.received).toHaveLength(3));
      expect(device.received).toEqual(payloads.map((payload) => ({ topic: updateTopic(under.realm, egm), payload })));
    });

    it('given two devices, when one is addressed, then the other hears nothing', async () => {
      const [addressed, other] = [await under.connect(egm), await under.connect(kiosk)];
      await there(egm);
      await there(kiosk);
      await under.broker.publish(trustLinkTopic(under.realm, egm), new Uint8Array([1]));
      await under.broker.publish(trustTopic(under.realm), new Uint8Array([2]));
      await until(() => expect(addressed.received).toHaveLength(2));
      await until(() => expect(other.received).toHaveLength(1));
      expect(other.received[0]?.payload).toEqual(new Uint8Array([2]));
    });

    it('given a device that was away, when it connects, then what was published meanwhile is gone and the next arrives', async () => {
      await under.broker.publish(updateTopic(under.realm, egm), new Uint8Array([1]));
      const device = await under.connect(egm);
      await there(egm);
      await under.broker.publish(updateTopic(under.realm, egm), new Uint8Array([2]));
      await until(() => expect(device.received.length).toBeGreaterThan(0));
      expect(device.received.map(({ payload }) => [...payload])).toEqual([[2]]);
    });

    it('given a retained trust bundle, when a device connects later, then it gets the latest one', async () => {
      await under.broker.publish(trustTopic(under.realm), new Uint8Array([1]), { retain: true });
      await under.broker.publish(trustTopic(under.realm), new Uint8Array([2]), { retain: true });
      const device = await under.connect(egm);
      await until(() => expect(device.received).toHaveLength(1));
      expect(device.received[0]).toEqual({ topic: trustTopic(under.realm), payload: new Uint8Array([2]) });
    });

    it('given any other topic, when it is to be retained, then that is refused', async () => {
      const retain = under.broker.publish(updateTopic(under.realm, egm), new Uint8Array([1]), { retain: true });
      await expect(retain).rejects.toMatchObject({ code: 'input.invalid' });
    });

    it('when a device publishes a report, then it arrives as that of the device, byte for byte', async () => {
      const device = await under.connect(egm);
      const payload = Uint8Array.from(randomBytes(5000));
      await device.publish(reportTopic(under.realm, egm), payload);
      await until(() => expect(reports).toHaveLength(1));
      expect(reports[0]).toMatchObject({ device: egm, payload });
      expect(under.broker.isConnected(egm)).toBe(true);
    });

    it('when a device publishes on the report topic of another, then nothing arrives, and its own report does', async () => {
      const thief = await under.connect(kiosk);
      await thief.publish(reportTopic(under.realm, egm), new Uint8Array([6]));
      const honest = await under.connect(egm);
      await settle(honest, egm);
      expect(reports.filter(({ payload }) => payload.length === 1)).toEqual([]);
    });

    it('when a device publishes on an update topic, then no device gets it', async () => {
      const victim = await under.connect(egm);
      await there(egm);
      const thief = await under.connect(kiosk);
      await thief.publish(updateTopic(under.realm, egm), new Uint8Array([6]));
      await settle(victim, egm);
      await under.broker.publish(updateTopic(under.realm, egm), new Uint8Array([7]));
      await until(() => expect(victim.received.length).toBeGreaterThan(0));
      expect(victim.received.map(({ payload }) => [...payload])).toEqual([[7]]);
    });

    it('when devices come and go, then presence tells', async () => {
      const device = await under.connect(egm);
      await there(egm);
      expect([...under.broker.connectedDevices()]).toEqual([egm]);
      expect(presence).toMatchObject([{ kind: 'connected', device: egm }]);
      await device.leave();
      await until(() => expect(under.broker.isConnected(egm)).toBe(false));
      expect([...under.broker.connectedDevices()]).toEqual([]);
      expect(presence[1]).toMatchObject({ kind: 'disconnected', device: egm });
      if (abilities.ownsConnections) expect(presence[1]).toMatchObject({ reason: 'closed' });
    });

    it('when a device vanishes, then presence tells that it dropped', async () => {
      const device = await under.connect(egm);
      await there(egm);
      await device.vanish();
      await until(() => expect(under.broker.isConnected(egm)).toBe(false));
      expect(presence.at(-1)).toEqual({ kind: 'disconnected', device: egm, reason: 'dropped' });
    });

    it('given a status that is no status topic of the realm, then presence does not change', async () => {
      const device = await under.connect(egm);
      await there(egm);
      await device.publish(statusTopic(under.realm, kiosk), new TextEncoder().encode('online'));
      await settle(await under.connect(egm), egm);
      expect(under.broker.isConnected(kiosk)).toBe(false);
    });

    it('when a device is disconnected by the gateway, then it is not there any more', async () => {
      const device = await under.connect(egm);
      await there(egm);
      await under.broker.disconnect(egm);
      expect(under.broker.isConnected(egm)).toBe(false);
      expect(presence.at(-1)).toEqual({ kind: 'disconnected', device: egm, reason: 'dropped' });
      if (abilities.ownsConnections) await until(() => expect(device.open).toBe(false));
    });

    it('when a device that is not there is disconnected, then nothing happens', async () => {
      await under.broker.disconnect(egm);
      expect(presence).toEqual([]);
    });

    if (abilities.ownsConnections) {
      it('given a connected device, when it connects again, then the first is taken over and the second works', async () => {
        const first = await under.connect(egm);
        await there(egm);
        const second = await under.connect(egm);
        await until(() => expect(first.open).toBe(false));
        await until(() => expect(presence).toHaveLength(3));
        expect(presence).toMatchObject([
          { kind: 'connected' },
          { kind: 'disconnected', reason: 'taken-over' },
          { kind: 'connected' },
        ]);
        await under.broker.publish(updateTopic(under.realm, egm), new Uint8Array([9]));
        await until(() => expect(second.received).toHaveLength(1));
        expect(first.received).toEqual([]);
      });
    }

    it('given a closed broker, when something is published, then it is refused', async () => {
      await under.broker.close();
      const publish = under.broker.publish(updateTopic(under.realm, egm), new Uint8Array([1]));
      await expect(publish).rejects.toMatchObject({ code: 'broker.unavailable' });
      await under.broker.close();
    });
  });
}
