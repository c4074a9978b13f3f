/** What every implementation of the Store port keeps. `store.test.ts` runs it against all of them. */
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { verifyChain } from '#gateway/audit/chain.ts';
import { auditContract } from './store-audit.contract.ts';
import { deliveryContract } from './store-delivery.contract.ts';
import { dispatchContract } from './store-dispatch.contract.ts';
import { enrolmentContract } from './store-enrolment.contract.ts';
import { fleetContract } from './store-fleet.contract.ts';
import { governanceContract } from './store-governance.contract.ts';
import { historyContract } from './store-history.contract.ts';
import { keysContract } from './store-keys.contract.ts';
import { rolloutsContract } from './store-rollouts.contract.ts';
import { tallyContract } from './store-tallies.contract.ts';
import { targetsContract } from './store-targets.contract.ts';
import { trustContract } from './store-trust.contract.ts';
import type { CurrentStore, StoreUnderTest } from './store-under-test.ts';

export function describeStore(name: string, start: () => Promise<StoreUnderTest>): void {
  describe(`Store contract: ${name}`, () => {
    let under: StoreUnderTest;
    beforeEach(async () => {
      under = await start();
    });
    afterEach(async () => {
      const head = await under.store.auditHead();
      expect(verifyChain(await under.store.auditRecords(0, 10_000)), 'the audit chain holds after every test').toEqual(
        head,
      );
      await under.stop();
    });

    const current: CurrentStore = () => under;
    describe('fleet', () => fleetContract(current));
    describe('enrolment', () => enrolmentContract(current));
    describe('reports', () => deliveryContract(current));
    describe('dispatch', () => dispatchContract(current));
    describe('key versions', () => keysContract(current));
    describe('rollouts', () => rolloutsContract(current));
    describe('targets of rollouts', () => targetsContract(current));
    describe('history of rollouts', () => historyContract(current));
    describe('counts of targets', () => tallyContract(current));
    describe('trust', () => trustContract(current));
    describe('governance', () => governanceContract(current));
    describe('audit', () => auditContract(current));
  });
}
