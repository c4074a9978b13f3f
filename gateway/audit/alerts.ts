/**
 * Which audit events somebody should look at. Pure: the store derives alerts while it writes the trail, and webhooks
 * derive the same ones while they read it. What each means and what to do: docs/alerts.md.
 */
import type { AlertSeverity, AuditEvent } from '#schema/audit.ts';
import { ERROR_CATALOGUE, isErrorCode, type ErrorCode } from '#schema/errors.ts';

export interface Alert {
  /** Equal for what is the same trouble: its code and what it is about. */
  readonly subject: string;
  readonly code: ErrorCode;
  readonly severity: AlertSeverity;
  readonly device: string | undefined;
  readonly rollout: string | undefined;
  readonly keySet: string | undefined;
  /** One line. */
  readonly message: string;
}

/** What an alert is about. With `gateway`, all devices' events of the code are one trouble. */
type About = 'device' | 'rollout' | 'keySet' | 'webhook' | 'gateway';

interface Rule {
  readonly actions: readonly string[];
  /** The event's code, which is the alert's, too; `any` of the catalogue. */
  readonly code: ErrorCode | 'any';
  readonly severity: AlertSeverity;
  readonly about: About;
  /** What else must hold. */
  readonly when?: (event: AuditEvent) => boolean;
  /** The success of the action is what alarms: such an event has no code of its own. */
  readonly onSuccess?: true;
  /** Details of the event that the message tells, in this order. */
  readonly tells?: readonly string[];
}

const REPORT = ['device.report'];
const ENROLMENT = ['enrolment.simpleenroll', 'enrolment.simplereenroll'];

/** Requests of devices that have proved who they are, and that yet only a person can let in. */
const PARKED_WITH_CERTIFICATE: ReadonlySet<unknown> = new Set(['certificate.expired', 'certificate.unknown']);

/** In the order in which they are tried. docs/alerts.md has a row for each; a test compares them. */
export const ALERT_RULES: readonly Rule[] = [
  {
    actions: ['device.quarantine'],
    code: 'any',
    severity: 'critical',
    about: 'device',
    when: ({ actor, outcome }) => outcome === 'success' && actor.type !== 'operator',
    tells: ['addresses', 'lost'],
  },
  { actions: REPORT, code: 'report.version-unexpected', severity: 'critical', about: 'device', tells: ['versions'] },
  { actions: REPORT, code: 'key.kcv-mismatch', severity: 'critical', about: 'device', tells: ['versions'] },
  { actions: REPORT, code: 'keyset.version-lost', severity: 'critical', about: 'keySet', tells: ['versions'] },
  { actions: REPORT, code: 'report.ahead', severity: 'warning', about: 'gateway', tells: ['lastSeq', 'seq'] },
  {
    actions: ['keyset.compromise'],
    code: 'keyset.compromised',
    severity: 'critical',
    about: 'keySet',
    onSuccess: true,
    tells: ['compromised', 'to', 'reason'],
  },
  { actions: ['audit.checkpoint'], code: 'audit.broken', severity: 'critical', about: 'gateway', tells: ['fault'] },
  {
    actions: ENROLMENT,
    code: 'enrolment.parked',
    severity: 'warning',
    about: 'device',
    when: ({ details }) => PARKED_WITH_CERTIFICATE.has(details?.['reason']),
    tells: ['request', 'reason', 'expired', 'issuerWithdrawn'],
  },
  {
    actions: ['broker.deny', 'report.refuse', ...ENROLMENT],
    code: 'certificate.revoked',
    severity: 'warning',
    about: 'device',
  },
  {
    actions: ['rollout.pause'],
    code: 'rollout.errors-exceeded',
    severity: 'warning',
    about: 'rollout',
    tells: ['keySet', 'reason'],
  },
  {
    actions: ['rollout.pause'],
    code: 'rollout.service-lags',
    severity: 'warning',
    about: 'rollout',
    tells: ['keySet', 'reason'],
  },
  {
    actions: ['rollout.stragglers'],
    code: 'rollout.stragglers',
    severity: 'warning',
    about: 'rollout',
    tells: ['keySet', 'devices', 'since'],
  },
  {
    actions: ['keyset.rotation-overdue'],
    code: 'keyset.rotation-overdue',
    severity: 'warning',
    about: 'keySet',
    tells: ['version', 'endsAt'],
  },
  {
    actions: ['keyset.rotation-due'],
    code: 'keyset.rotation-due',
    severity: 'info',
    about: 'keySet',
    tells: ['version', 'dueAt'],
  },
  {
    actions: ['webhook.failed'],
    code: 'webhook.failed',
    severity: 'warning',
    about: 'webhook',
    tells: ['first', 'last', 'fault'],
  },
];

const BY_ACTION = new Map<string, Rule[]>();
for (const rule of ALERT_RULES) {
  for (const action of rule.actions) BY_ACTION.set(action, [...(BY_ACTION.get(action) ?? []), rule]);
}

const LONGEST_MESSAGE = 400;

function codeOf(rule: Rule, event: AuditEvent): ErrorCode | undefined {
  if (rule.code === 'any') return event.code !== undefined && isErrorCode(event.code) ? event.code : undefined;
  if (rule.onSuccess === true) return event.outcome === 'success' ? rule.code : undefined;
  return event.code === rule.code ? rule.code : undefined;
}

const textIn = (event: AuditEvent, detail: string): string | undefined => {
  const value = event.details?.[detail];
  return typeof value === 'string' && value !== '' ? value : undefined;
};

const objectIn = ({ object }: AuditEvent, type: string): string | undefined =>
  object?.type === type ? object.id : undefined;

/** A connection that the broker turned away is named by its certificate, which the broker compared with the client id. */
function deviceOf(event: AuditEvent): string | undefined {
  const isConnection = event.action === 'broker.deny' && event.details?.['act'] === 'connect';
  return event.device ?? (isConnection ? textIn(event, 'clientId') : undefined);
}

/** `name value`, as far as the event has it. */
function told(event: AuditEvent, name: string): string | undefined {
  const value = event.details?.[name];
  if (value === undefined || value === null || value === '') return undefined;
  const text = Array.isArray(value) ? value.join(', ') : String(value);
  return text === '' ? undefined : `${name} ${text}`;
}

function messageOf(event: AuditEvent, rule: Rule, code: ErrorCode, about: string | undefined): string {
  const facts = (rule.tells ?? []).flatMap((name) => told(event, name) ?? []);
  if (event.source !== undefined) facts.push(`from ${event.source}`);
  const { summary } = ERROR_CATALOGUE[code];
  const text = `${about === undefined ? '' : `${about}: `}${summary}${facts.length === 0 ? '' : ` (${facts.join('; ')})`}`;
  return text.length <= LONGEST_MESSAGE ? text : `${text.slice(0, LONGEST_MESSAGE - 1)}…`;
}

function alertBy(rule: Rule, event: AuditEvent): Alert | undefined {
  const code = codeOf(rule, event);
  if (code === undefined || rule.when?.(event) === false) return undefined;
  const device = deviceOf(event);
  const rollout = objectIn(event, 'rollout') ?? textIn(event, 'rollout');
  const keySet = objectIn(event, 'keyset') ?? textIn(event, 'keySet');
  const about = { device, rollout, keySet, webhook: objectIn(event, 'webhook'), gateway: undefined }[rule.about];
  return {
    subject: about === undefined ? code : `${code} ${about}`,
    code,
    severity: rule.severity,
    device,
    rollout,
    keySet,
    message: messageOf(event, rule, code, rule.about === 'rollout' && about !== undefined ? `rollout ${about}` : about),
  };
}

/** The alert that an event raises, if it does. */
export function alertOf(event: AuditEvent): Alert | undefined {
  for (const rule of BY_ACTION.get(event.action) ?? []) {
    const alert = alertBy(rule, event);
    if (alert !== undefined) return alert;
  }
  return undefined;
}
