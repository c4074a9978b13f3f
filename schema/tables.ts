/**
 * The SQLite tables (drizzle). Times are milliseconds since 1970 (UTC); bytes are DER unless said otherwise.
 * Migrations are generated from this file: `npm run migrations`.
 */
import { sql } from 'drizzle-orm';
import { blob, index, integer, primaryKey, sqliteTable, text, uniqueIndex } from 'drizzle-orm/sqlite-core';

export const meta = sqliteTable('meta', {
  key: text().primaryKey(),
  value: text().notNull(),
});

/** CA and operational keys: who signs what, where the key is, and how far its replacement has come. */
export const authorities = sqliteTable(
  'authorities',
  {
    keyLabel: text('key_label').primaryKey(),
    role: text().notNull(),
    /** `AuthorityState` of gateway/ports/store/records.ts. */
    state: text().notNull(),
    /** Null while the key waits for its certificate. */
    certificate: blob({ mode: 'buffer' }),
    createdAt: integer('created_at').notNull(),
    changedAt: integer('changed_at').notNull(),
  },
  (table) => [index('authorities_by_role').on(table.role, table.state)],
);

export const policies = sqliteTable('policies', {
  version: integer().primaryKey(),
  document: text().notNull(),
  sha256: text().notNull(),
  appliedAt: integer('applied_at').notNull(),
  appliedBy: text('applied_by').notNull(),
});

export const devices = sqliteTable(
  'devices',
  {
    id: text().primaryKey(),
    class: text().notNull(),
    site: text().notNull(),
    serialNumber: text('serial_number').notNull(),
    labels: text().notNull(),
    state: text().notNull(),
    stateCode: text('state_code'),
    stateSince: integer('state_since').notNull(),
    createdAt: integer('created_at').notNull(),
    /** Identity slots (D§5): the certificate in use and the one issued but not seen in use yet. */
    currentSerial: text('current_serial'),
    nextSerial: text('next_serial'),
  },
  (table) => [
    index('devices_by_class').on(table.class, table.id),
    index('devices_by_site').on(table.site, table.id),
    index('devices_by_state').on(table.state, table.id),
  ],
);

/** The changing half of a device: what it proved last and what is due. */
export const deviceSync = sqliteTable(
  'device_sync',
  {
    device: text()
      .primaryKey()
      .references(() => devices.id),
    connected: integer({ mode: 'boolean' }).notNull(),
    address: text(),
    lastSeenAt: integer('last_seen_at'),
    /** Highest seq that the gateway used for this device. */
    seq: integer().notNull(),
    lastSeq: integer('last_seq').notNull(),
    counter: integer().notNull(),
    digest: text(),
    nonce: text(),
    nonceAnswered: integer('nonce_answered', { mode: 'boolean' }).notNull(),
    clockTrusted: integer('clock_trusted', { mode: 'boolean' }).notNull(),
    /** Recent boot ids, newest first, JSON. */
    boots: text().notNull(),
    /** Addresses that its reports came from, newest first, JSON. */
    reportedFrom: text('reported_from').notNull().default('[]'),
    /** What its latest report claims to hold that nobody sent. */
    unexpected: text(),
    trustVersion: integer('trust_version').notNull(),
    agentVersion: text('agent_version'),
    lastReportAt: integer('last_report_at'),
    dueAt: integer('due_at'),
    attempts: integer().notNull(),
  },
  (table) => [
    index('device_sync_due').on(table.connected, table.dueAt),
    index('device_sync_connected').on(table.connected, table.device),
  ],
);

/** What a device proved about each key version; `offered` is the gateway's own word for "sent, not proved". */
export const deviceKeyVersions = sqliteTable(
  'device_key_versions',
  {
    device: text()
      .notNull()
      .references(() => devices.id),
    keySet: text('key_set').notNull(),
    version: integer().notNull(),
    state: text().notNull(),
    kcv: text(),
    changedAt: integer('changed_at').notNull(),
  },
  (table) => [
    primaryKey({ columns: [table.device, table.keySet, table.version] }),
    index('device_key_versions_by_version').on(table.keySet, table.version, table.state),
  ],
);

/** Every update, recorded before it is signed. */
export const updates = sqliteTable(
  'updates',
  {
    device: text()
      .notNull()
      .references(() => devices.id),
    seq: integer().notNull(),
    /** SHA-256 of the body (JSON). */
    sha256: text().notNull(),
    issuedAt: integer('issued_at').notNull(),
  },
  (table) => [primaryKey({ columns: [table.device, table.seq] })],
);

export const tickets = sqliteTable(
  'tickets',
  {
    id: text().primaryKey(),
    device: text()
      .notNull()
      .references(() => devices.id),
    /** Random salt, hex, and SHA-256(salt || code), hex. */
    salt: text().notNull(),
    codeHash: text('code_hash').notNull(),
    createdAt: integer('created_at').notNull(),
    createdBy: text('created_by').notNull(),
    expiresAt: integer('expires_at').notNull(),
    consumedAt: integer('consumed_at'),
    consumedCsr: text('consumed_csr'),
  },
  (table) => [index('tickets_by_device').on(table.device, table.createdAt)],
);

export const certificates = sqliteTable(
  'certificates',
  {
    serial: text().primaryKey(),
    device: text()
      .notNull()
      .references(() => devices.id),
    issuer: text().notNull(),
    state: text().notNull(),
    csrSha256: text('csr_sha256').notNull(),
    spkiSha256: text('spki_sha256').notNull(),
    /** SHA-256 of the certificate; null until it is signed. */
    fingerprint: text(),
    tbs: blob({ mode: 'buffer' }).notNull(),
    der: blob({ mode: 'buffer' }),
    notBefore: integer('not_before').notNull(),
    notAfter: integer('not_after').notNull(),
    /** On its first use the device's reports start a new history. */
    freshStart: integer('fresh_start', { mode: 'boolean' }).notNull(),
    createdAt: integer('created_at').notNull(),
    revokedAt: integer('revoked_at'),
    revocationReason: text('revocation_reason'),
  },
  (table) => [
    index('certificates_by_device').on(table.device, table.createdAt),
    uniqueIndex('certificates_by_fingerprint').on(table.fingerprint),
    index('certificates_by_csr').on(table.csrSha256, table.device),
    index('certificates_by_state').on(table.state),
  ],
);

/** Every public key that a device has ever used; nobody else may use it. */
export const devicePublicKeys = sqliteTable('device_public_keys', {
  spkiSha256: text('spki_sha256').primaryKey(),
  device: text()
    .notNull()
    .references(() => devices.id),
});

export const enrolmentRequests = sqliteTable(
  'enrolment_requests',
  {
    id: text().primaryKey(),
    csrSha256: text('csr_sha256').notNull(),
    csr: blob({ mode: 'buffer' }).notNull(),
    device: text(),
    reason: text().notNull(),
    source: text(),
    state: text().notNull(),
    requestedAt: integer('requested_at').notNull(),
    decidedAt: integer('decided_at'),
    decidedBy: text('decided_by'),
  },
  (table) => [
    uniqueIndex('enrolment_requests_by_csr').on(table.csrSha256),
    index('enrolment_requests_by_state').on(table.state, table.requestedAt),
  ],
);

export const keySets = sqliteTable('key_sets', {
  name: text().primaryKey(),
  algorithm: text().notNull(),
  use: text().notNull(),
  scope: text().notNull(),
  selector: text().notNull(),
  cryptoperiod: integer().notNull(),
  /** Rises with every change of the key set's versions. */
  revision: integer().notNull(),
  createdAt: integer('created_at').notNull(),
});

export const keyVersions = sqliteTable(
  'key_versions',
  {
    keySet: text('key_set')
      .notNull()
      .references(() => keySets.name),
    version: integer().notNull(),
    /** NIST SP 800-57 state. */
    state: text().notNull(),
    /** A deactivated version is accepted until it is retired. */
    retiredAt: integer('retired_at'),
    /** Wrapped under the KEK; null once destroyed. */
    wrapped: blob({ mode: 'buffer' }),
    kek: text().notNull(),
    kcv: text().notNull(),
    createdAt: integer('created_at').notNull(),
    activatedAt: integer('activated_at'),
    deactivatedAt: integer('deactivated_at'),
    compromisedAt: integer('compromised_at'),
    destroyedAt: integer('destroyed_at'),
  },
  (table) => [primaryKey({ columns: [table.keySet, table.version] })],
);

export const rollouts = sqliteTable(
  'rollouts',
  {
    id: text().primaryKey(),
    /** What is rolled out; the columns that a kind does not need are null. */
    kind: text().notNull(),
    keySet: text('key_set'),
    fromVersion: integer('from_version'),
    toVersion: integer('to_version'),
    /** JSON: the re-enrolment's terms. */
    campaign: text(),
    /** JSON: the plan as it was approved, and the hash that was approved. */
    plan: text().notNull(),
    planSha256: text('plan_sha256').notNull(),
    state: text().notNull(),
    startAt: integer('start_at').notNull(),
    /** When all its targets were recorded. */
    preparedAt: integer('prepared_at'),
    /** Number of the wave that is open, and since when; then since when it soaks. */
    wave: integer().notNull(),
    waveOpenedAt: integer('wave_opened_at'),
    waveSettledAt: integer('wave_settled_at'),
    pausedAt: integer('paused_at'),
    pausedBy: text('paused_by'),
    pauseCode: text('pause_code'),
    pauseReason: text('pause_reason'),
    /** When the sign-off of its stragglers was proposed. */
    stragglersAt: integer('stragglers_at'),
    requestedBy: text('requested_by').notNull(),
    createdAt: integer('created_at').notNull(),
    activatedAt: integer('activated_at'),
    retiredAt: integer('retired_at'),
    finishedAt: integer('finished_at'),
  },
  (table) => [
    index('rollouts_by_key_set').on(table.keySet, table.finishedAt),
    index('rollouts_by_end').on(table.finishedAt, table.createdAt),
    index('rollouts_by_kind').on(table.kind, table.state, table.toVersion),
  ],
);

export const rolloutTargets = sqliteTable(
  'rollout_targets',
  {
    rollout: text()
      .notNull()
      .references(() => rollouts.id),
    device: text()
      .notNull()
      .references(() => devices.id),
    /** Part of the rollout that the target belongs to, and its place there; waves are opened one after the other. */
    wave: integer().notNull(),
    position: integer().notNull(),
    service: integer({ mode: 'boolean' }).notNull(),
    state: text().notNull(),
    code: text(),
    /** Why a person exempted it. */
    reason: text(),
    deferredUntil: integer('deferred_until'),
    offeredAt: integer('offered_at'),
    /** How often the change was sent without an answer. */
    attempts: integer().notNull(),
    changedAt: integer('changed_at').notNull(),
    /** Kept by triggers: whether the device is connected, and what it has of versions before the rollout's. */
    online: integer({ mode: 'boolean' }).notNull().default(false),
    old: text().notNull().default('gone'),
    /** Approval by which two people signed it off as a straggler. */
    signedOff: text('signed_off'),
  },
  (table) => [
    primaryKey({ columns: [table.rollout, table.device] }),
    index('rollout_targets_by_state').on(table.rollout, table.state, table.device),
    index('rollout_targets_by_device').on(table.device, table.rollout),
  ],
);

/** How many targets of a rollout are alike; kept by triggers, so that a status is read from a few rows. */
export const rolloutTallies = sqliteTable(
  'rollout_tallies',
  {
    rollout: text().notNull(),
    wave: integer().notNull(),
    service: integer({ mode: 'boolean' }).notNull(),
    state: text().notNull(),
    online: integer({ mode: 'boolean' }).notNull(),
    deferred: integer({ mode: 'boolean' }).notNull(),
    old: text().notNull(),
    targets: integer().notNull(),
  },
  (table) => [
    primaryKey({
      columns: [table.rollout, table.wave, table.service, table.state, table.online, table.deferred, table.old],
    }),
  ],
);

/**
 * What became of a rollout and of each of its targets, in order. Steps of targets are kept by triggers; those of the
 * rollout itself, which have no device, come with the audit records of the same transaction.
 */
export const rolloutHistory = sqliteTable(
  'rollout_history',
  {
    id: integer().primaryKey(),
    rollout: text().notNull(),
    device: text(),
    at: integer().notNull(),
    /** What happened to the rollout, or what a person said of the target. */
    step: text(),
    /** States of the target. */
    from: text(),
    to: text(),
    code: text(),
    by: text(),
    approval: text(),
    /** JSON: names of those who approved. */
    approvedBy: text('approved_by'),
    reason: text(),
    /** JSON: facts of a step of the rollout. */
    details: text(),
  },
  (table) => [
    index('rollout_history_by_rollout').on(table.rollout, table.id),
    index('rollout_history_by_device').on(table.device, table.id),
    index('rollout_history_of_rollout')
      .on(table.rollout, table.id)
      .where(sql`device is null`),
  ],
);

export const trustBundles = sqliteTable('trust_bundles', {
  version: integer().primaryKey(),
  der: blob({ mode: 'buffer' }).notNull(),
  sha256: text().notNull(),
  body: text().notNull(),
  issuedAt: integer('issued_at').notNull(),
  expiresAt: integer('expires_at').notNull(),
});

export const operators = sqliteTable('operators', {
  name: text().primaryKey(),
  role: text().notNull(),
  /** SHA-256 of the token, hex. */
  tokenHash: text('token_hash').notNull().unique(),
  createdAt: integer('created_at').notNull(),
  createdBy: text('created_by').notNull(),
});

export const approvals = sqliteTable(
  'approvals',
  {
    id: text().primaryKey(),
    action: text().notNull(),
    summary: text().notNull(),
    /** Canonical JSON of exactly what was asked, and its SHA-256. */
    request: text().notNull(),
    sha256: text().notNull(),
    requester: text().notNull(),
    state: text().notNull(),
    approver: text(),
    createdAt: integer('created_at').notNull(),
    expiresAt: integer('expires_at').notNull(),
    decidedAt: integer('decided_at'),
    result: text(),
  },
  (table) => [index('approvals_by_state').on(table.state, table.createdAt)],
);

export const auditRecords = sqliteTable('audit_records', {
  seq: integer().primaryKey(),
  /** SHA-256 of `record`. */
  hash: text().notNull(),
  /** Canonical JSON of the record without its `hash`. */
  record: text().notNull(),
});

/** What somebody should look at: derived from audit records, kept until a person acknowledges it. */
export const alerts = sqliteTable(
  'alerts',
  {
    id: integer().primaryKey(),
    /** Equal for what is the same trouble; while one of a kind is open, another only counts. */
    subject: text().notNull(),
    code: text().notNull(),
    severity: text().notNull(),
    device: text(),
    rollout: text(),
    keySet: text('key_set'),
    message: text().notNull(),
    /** Audit records that raised it first and last. */
    firstSeq: integer('first_seq').notNull(),
    lastSeq: integer('last_seq').notNull(),
    occurrences: integer().notNull(),
    raisedAt: integer('raised_at').notNull(),
    lastAt: integer('last_at').notNull(),
    acknowledgedAt: integer('acknowledged_at'),
    acknowledgedBy: text('acknowledged_by'),
  },
  (table) => [
    uniqueIndex('alerts_open')
      .on(table.subject)
      .where(sql`acknowledged_at is null`),
    index('alerts_by_time').on(table.raisedAt),
  ],
);

export const auditCheckpoints = sqliteTable('audit_checkpoints', {
  seq: integer()
    .primaryKey()
    .references(() => auditRecords.seq),
  cms: blob({ mode: 'buffer' }).notNull(),
  sha256: text().notNull(),
  createdAt: integer('created_at').notNull(),
});

export const crls = sqliteTable('crls', {
  number: integer().primaryKey(),
  der: blob({ mode: 'buffer' }).notNull(),
  thisUpdate: integer('this_update').notNull(),
  nextUpdate: integer('next_update').notNull(),
});
