/**
 * The Store port. Its methods are whole use cases: each loads what a decision needs, calls that pure, synchronous
 * decision inside one transaction, and commits the outcome together with its audit records. Nothing awaits inside a
 * transaction. Every implementation passes `test/contract/store.contract.ts`.
 *
 * Errors of every method: `store.unavailable` (nothing was changed) and `audit.unavailable`.
 */
import type { AuditStore } from './audit.ts';
import type { DeliveryStore } from './delivery.ts';
import type { EnrolmentStore } from './enrolment.ts';
import type { FleetStore } from './fleet.ts';
import type { GovernanceStore } from './governance.ts';
import type { KeySetStore } from './keys.ts';
import type { RolloutStore } from './rollouts.ts';
import type { TrustStore } from './trust.ts';

export interface Store
  extends
    FleetStore,
    EnrolmentStore,
    DeliveryStore,
    KeySetStore,
    RolloutStore,
    TrustStore,
    GovernanceStore,
    AuditStore {
  close(): Promise<void>;
}
