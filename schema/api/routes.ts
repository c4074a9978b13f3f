/**
 * The routes of the operator API as data. The server registers from this table, the client asks by it, and the OpenAPI
 * document is made of it, so that none can say something else than the others.
 */
import { z } from 'zod';
import { ApprovalId, DeviceId, EnrolmentId, KeySetName, RolloutId, Sha256, TrustVersion } from '../ids.ts';
import type { Action } from '../operators.ts';
import {
  AlertAcknowledge,
  AlertId,
  CommandAnswer,
  DeviceImport,
  DeviceQuarantine,
  DeviceTicket,
  EnrolmentApprove,
  EnrolmentCampaign,
  EnrolmentRefuse,
  KeysetCompromise,
  KeysetRotate,
  OperatorAdd,
  PolicyApply,
  RolloutAbort,
  RolloutExempt,
  RolloutPause,
  RolloutResume,
  RolloutRetry,
  RolloutSignOff,
  TrustImport,
  TrustPublish,
  AuthorityInstall,
  AuthorityPrepare,
  AuthoritySwitch,
  AuthorityWithdraw,
} from './commands.ts';
import {
  AlertPage,
  AlertQuery,
  ApprovalAnswer,
  ApprovalList,
  ApprovalQuery,
  ApprovalView,
  AuditExportQuery,
  AuditHeadView,
  AuditPage,
  AuditQuery,
  DeviceDetailView,
  DeviceHistoryQuery,
  DevicePage,
  DeviceQuery,
  EnrolmentList,
  EnrolmentQuery,
  HistoryPage,
  KeySetDetailView,
  KeySetList,
  OperatorList,
  PolicyAnswer,
  PolicyPlanView,
  RolloutHistoryQuery,
  RolloutList,
  RolloutPlanRequest,
  RolloutPlanView,
  RolloutQuery,
  RolloutView,
  SelfView,
  StatusView,
  TargetPage,
  TargetQuery,
  TicketInfo,
  TrustBundleView,
  TrustList,
  TrustQuery,
  AuthorityList,
} from './views.ts';

/**
 * How a route answers. `json`: one document. `command`: CommandAnswer, 200 done or 202 approval-required.
 * `events`: Server-Sent Events. `lines`: JSON lines. `text`: plain text.
 */
export type AnswerKind = 'json' | 'command' | 'events' | 'lines' | 'text';

export interface RouteDefinition {
  readonly method: 'GET' | 'POST';
  /** Parameters start with a colon. */
  readonly path: string;
  /** What the role of the operator must allow. */
  readonly action: Action;
  readonly answers: AnswerKind;
  readonly summary: string;
  readonly tag: string;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodObject;
  /** Of the whole answer; absent where the answer is a stream or text. */
  readonly response?: z.ZodType;
}

const deviceId = z.object({ id: DeviceId });
const enrolmentId = z.object({ id: EnrolmentId });
const keySetName = z.object({ name: KeySetName });
const rolloutId = z.object({ id: RolloutId });
const alertId = z.object({ id: z.coerce.number().pipe(AlertId) });
const approvalId = z.object({ id: ApprovalId });
const trustVersion = z.object({ version: z.coerce.number().pipe(TrustVersion) });
const reason = DeviceQuarantine.pick({ reason: true });

/** Answer of `POST /v1/tickets`: what goes into the ticket files besides the codes, which never travel. */
export const TicketAnswer = z.object({ answer: CommandAnswer, info: TicketInfo });
export type TicketAnswer = z.infer<typeof TicketAnswer>;

export const ROUTES = {
  'status.show': {
    method: 'GET',
    path: '/v1/status',
    action: 'fleet.view',
    answers: 'json',
    tag: 'gateway',
    summary: 'State of the gateway',
    response: StatusView,
  },
  'self.show': {
    method: 'GET',
    path: '/v1/self',
    action: 'fleet.view',
    answers: 'json',
    tag: 'gateway',
    summary: 'The operator of this token and what the role may do',
    response: SelfView,
  },
  'events.watch': {
    method: 'GET',
    path: '/v1/events',
    action: 'fleet.view',
    answers: 'events',
    tag: 'gateway',
    summary: 'What happens in the gateway (GatewayEvent)',
  },
  'metrics.show': {
    method: 'GET',
    path: '/v1/metrics',
    action: 'fleet.view',
    answers: 'text',
    tag: 'gateway',
    summary: 'Metrics, Prometheus text format',
  },

  'device.list': {
    method: 'GET',
    path: '/v1/devices',
    action: 'fleet.view',
    answers: 'json',
    tag: 'devices',
    summary: 'Devices, by id',
    query: DeviceQuery,
    response: DevicePage,
  },
  'device.show': {
    method: 'GET',
    path: '/v1/devices/:id',
    action: 'fleet.view',
    answers: 'json',
    tag: 'devices',
    summary: 'One device with certificates, keys and targets',
    params: deviceId,
    response: DeviceDetailView,
  },
  'device.history': {
    method: 'GET',
    path: '/v1/devices/:id/history',
    action: 'fleet.view',
    answers: 'json',
    tag: 'devices',
    summary: 'What rollouts did to a device, step by step, ascending',
    params: deviceId,
    query: DeviceHistoryQuery,
    response: HistoryPage,
  },
  'device.import': {
    method: 'POST',
    path: '/v1/devices/import',
    action: 'device.import',
    answers: 'command',
    tag: 'devices',
    summary: 'Add devices to the inventory, all or none',
    body: DeviceImport,
    response: CommandAnswer,
  },
  'device.ticket': {
    method: 'POST',
    path: '/v1/tickets',
    action: 'device.ticket',
    answers: 'command',
    tag: 'devices',
    summary: 'Record tickets; the one-time codes stay with the client',
    body: DeviceTicket,
    response: TicketAnswer,
  },
  'device.quarantine': {
    method: 'POST',
    path: '/v1/devices/:id/quarantine',
    action: 'device.quarantine',
    answers: 'command',
    tag: 'devices',
    summary: 'Cut a device off',
    params: deviceId,
    body: reason,
    response: CommandAnswer,
  },
  'device.revoke': {
    method: 'POST',
    path: '/v1/devices/:id/revoke',
    action: 'device.revoke',
    answers: 'command',
    tag: 'devices',
    summary: 'Revoke a device and its certificates',
    params: deviceId,
    body: reason,
    response: CommandAnswer,
  },
  'device.release': {
    method: 'POST',
    path: '/v1/devices/:id/release',
    action: 'device.release',
    answers: 'command',
    tag: 'devices',
    summary: 'Serve a quarantined or revoked device again; it goes on where it was',
    params: deviceId,
    body: reason,
    response: CommandAnswer,
  },
  'device.re-baseline': {
    method: 'POST',
    path: '/v1/devices/:id/re-baseline',
    action: 'device.re-baseline',
    answers: 'command',
    tag: 'devices',
    summary: 'Begin a new history of reports for a device whose old one broke, and serve it again',
    params: deviceId,
    body: reason,
    response: CommandAnswer,
  },

  'enrolment.list': {
    method: 'GET',
    path: '/v1/enrolments',
    action: 'fleet.view',
    answers: 'json',
    tag: 'enrolments',
    summary: 'Requests that wait or waited for an engineer',
    query: EnrolmentQuery,
    response: EnrolmentList,
  },
  'enrolment.approve': {
    method: 'POST',
    path: '/v1/enrolments/:id/approve',
    action: 'enrolment.approve',
    answers: 'command',
    tag: 'enrolments',
    summary: 'Let a parked request have its certificate',
    params: enrolmentId,
    body: EnrolmentApprove.omit({ enrolment: true }),
    response: CommandAnswer,
  },
  'enrolment.refuse': {
    method: 'POST',
    path: '/v1/enrolments/:id/refuse',
    action: 'enrolment.refuse',
    answers: 'command',
    tag: 'enrolments',
    summary: 'Refuse a parked request',
    params: enrolmentId,
    body: EnrolmentRefuse.omit({ enrolment: true }),
    response: CommandAnswer,
  },

  'enrolment.campaign': {
    method: 'POST',
    path: '/v1/campaigns',
    action: 'enrolment.campaign',
    answers: 'command',
    tag: 'enrolments',
    summary: 'Have devices renew their certificates, by a rollout',
    body: EnrolmentCampaign,
    response: CommandAnswer,
  },

  'keyset.list': {
    method: 'GET',
    path: '/v1/keysets',
    action: 'fleet.view',
    answers: 'json',
    tag: 'keys',
    summary: 'Key sets and their versions',
    response: KeySetList,
  },
  'keyset.show': {
    method: 'GET',
    path: '/v1/keysets/:name',
    action: 'fleet.view',
    answers: 'json',
    tag: 'keys',
    summary: 'One key set and how many devices hold which version',
    params: keySetName,
    response: KeySetDetailView,
  },
  'keyset.rotate': {
    method: 'POST',
    path: '/v1/keysets/:name/rotate',
    action: 'keyset.rotate',
    answers: 'command',
    tag: 'keys',
    summary: 'Make the next version and roll it out',
    params: keySetName,
    body: KeysetRotate.omit({ keySet: true }),
    response: CommandAnswer,
  },
  'keyset.compromise': {
    method: 'POST',
    path: '/v1/keysets/:name/compromise',
    action: 'keyset.compromise',
    answers: 'command',
    tag: 'keys',
    summary: 'Declare a version compromised; its successor goes to everybody at once',
    params: keySetName,
    body: KeysetCompromise.omit({ keySet: true }),
    response: CommandAnswer,
  },

  'rollout.list': {
    method: 'GET',
    path: '/v1/rollouts',
    action: 'fleet.view',
    answers: 'json',
    tag: 'rollouts',
    summary: 'Rollouts, newest first',
    query: RolloutQuery,
    response: RolloutList,
  },
  'rollout.show': {
    method: 'GET',
    path: '/v1/rollouts/:id',
    action: 'fleet.view',
    answers: 'json',
    tag: 'rollouts',
    summary: 'One rollout and its progress',
    params: rolloutId,
    response: RolloutView,
  },
  'rollout.targets': {
    method: 'GET',
    path: '/v1/rollouts/:id/targets',
    action: 'fleet.view',
    answers: 'json',
    tag: 'rollouts',
    summary: 'The targets of a rollout, by device',
    params: rolloutId,
    query: TargetQuery,
    response: TargetPage,
  },
  'rollout.watch': {
    method: 'GET',
    path: '/v1/rollouts/:id/watch',
    action: 'fleet.view',
    answers: 'events',
    tag: 'rollouts',
    summary: 'The rollout again whenever it has changed (RolloutView)',
    params: rolloutId,
  },
  'rollout.history': {
    method: 'GET',
    path: '/v1/rollouts/:id/history',
    action: 'fleet.view',
    answers: 'json',
    tag: 'rollouts',
    summary: 'What became of it, step by step, ascending; and of its targets, where asked',
    params: rolloutId,
    query: RolloutHistoryQuery,
    response: HistoryPage,
  },
  'rollout.plan': {
    method: 'POST',
    path: '/v1/rollouts/plan',
    action: 'fleet.view',
    answers: 'json',
    tag: 'rollouts',
    summary: 'What a rollout would do if it were started; nothing is changed',
    body: RolloutPlanRequest,
    response: RolloutPlanView,
  },
  'rollout.pause': {
    method: 'POST',
    path: '/v1/rollouts/:id/pause',
    action: 'rollout.pause',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Begin with no further target, and take no further step',
    params: rolloutId,
    body: RolloutPause.omit({ rollout: true }),
    response: CommandAnswer,
  },
  'rollout.resume': {
    method: 'POST',
    path: '/v1/rollouts/:id/resume',
    action: 'rollout.resume',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Let a paused rollout go on',
    params: rolloutId,
    body: RolloutResume.omit({ rollout: true }),
    response: CommandAnswer,
  },
  'rollout.abort': {
    method: 'POST',
    path: '/v1/rollouts/:id/abort',
    action: 'rollout.abort',
    answers: 'command',
    tag: 'rollouts',
    summary: 'End a rollout before its activation',
    params: rolloutId,
    body: RolloutAbort.omit({ rollout: true }),
    response: CommandAnswer,
  },
  'rollout.retry': {
    method: 'POST',
    path: '/v1/rollouts/:id/retry',
    action: 'rollout.retry',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Begin with failed targets anew: the named ones, or all',
    params: rolloutId,
    body: RolloutRetry.omit({ rollout: true }),
    response: CommandAnswer,
  },
  'rollout.exempt': {
    method: 'POST',
    path: '/v1/rollouts/:id/exempt',
    action: 'rollout.exempt',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Leave devices out of a rollout',
    params: rolloutId,
    body: RolloutExempt.omit({ rollout: true }),
    response: CommandAnswer,
  },
  'rollout.sign-off': {
    method: 'POST',
    path: '/v1/rollouts/:id/sign-off',
    action: 'rollout.sign-off',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Declare that stragglers hold up nothing any more',
    params: rolloutId,
    body: RolloutSignOff.omit({ rollout: true }),
    response: CommandAnswer,
  },
  'keyset.retire': {
    method: 'POST',
    path: '/v1/rollouts/:id/retire',
    action: 'keyset.retire',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Retire the old version',
    params: rolloutId,
    response: CommandAnswer,
  },
  'keyset.destroy': {
    method: 'POST',
    path: '/v1/rollouts/:id/destroy',
    action: 'keyset.destroy',
    answers: 'command',
    tag: 'rollouts',
    summary: 'Destroy the retired version, here and on the devices',
    params: rolloutId,
    response: CommandAnswer,
  },

  'trust.list': {
    method: 'GET',
    path: '/v1/trust',
    action: 'fleet.view',
    answers: 'json',
    tag: 'trust',
    summary: 'Trust bundles, ascending',
    query: TrustQuery,
    response: TrustList,
  },
  'trust.show': {
    method: 'GET',
    path: '/v1/trust/:version',
    action: 'fleet.view',
    answers: 'json',
    tag: 'trust',
    summary: 'One trust bundle with its body',
    params: trustVersion,
    response: TrustBundleView,
  },
  'trust.publish': {
    method: 'POST',
    path: '/v1/trust',
    action: 'trust.publish',
    answers: 'command',
    tag: 'trust',
    summary: 'Publish the next trust bundle',
    body: TrustPublish,
    response: CommandAnswer,
  },
  'trust.import': {
    method: 'POST',
    path: '/v1/trust/import',
    action: 'trust.import',
    answers: 'command',
    tag: 'trust',
    summary: 'Take in trust bundles that the gateway lost and others still have',
    body: TrustImport,
    response: CommandAnswer,
  },

  'alert.list': {
    method: 'GET',
    path: '/v1/alerts',
    action: 'fleet.view',
    answers: 'json',
    tag: 'alerts',
    summary: 'What somebody should look at, newest first',
    query: AlertQuery,
    response: AlertPage,
  },
  'alert.acknowledge': {
    method: 'POST',
    path: '/v1/alerts/:id/acknowledge',
    action: 'alert.acknowledge',
    answers: 'command',
    tag: 'alerts',
    summary: 'Close an alert, with what was found or done',
    params: alertId,
    body: AlertAcknowledge.omit({ alert: true }),
    response: CommandAnswer,
  },

  'authority.list': {
    method: 'GET',
    path: '/v1/authorities',
    action: 'fleet.view',
    answers: 'json',
    tag: 'trust',
    summary: 'Certificate authorities and signers, and how far the devices know them',
    response: AuthorityList,
  },
  'authority.prepare': {
    method: 'POST',
    path: '/v1/authorities/prepare',
    action: 'authority.prepare',
    answers: 'command',
    tag: 'trust',
    summary: 'Make the key of the next authority in the HSM; the result holds its request (PKCS#10, PEM)',
    body: AuthorityPrepare,
    response: CommandAnswer,
  },
  'authority.install': {
    method: 'POST',
    path: '/v1/authorities/install',
    action: 'authority.install',
    answers: 'command',
    tag: 'trust',
    summary: 'Take the certificate of the next authority, and publish it in the next trust bundle',
    body: AuthorityInstall,
    response: CommandAnswer,
  },
  'authority.switch': {
    method: 'POST',
    path: '/v1/authorities/switch',
    action: 'authority.switch',
    answers: 'command',
    tag: 'trust',
    summary: 'Use the next authority from now on',
    body: AuthoritySwitch,
    response: CommandAnswer,
  },
  'authority.withdraw': {
    method: 'POST',
    path: '/v1/authorities/withdraw',
    action: 'authority.withdraw',
    answers: 'command',
    tag: 'trust',
    summary: 'Trust an authority no more, and publish the trust bundle without it',
    body: AuthorityWithdraw,
    response: CommandAnswer,
  },

  'approval.list': {
    method: 'GET',
    path: '/v1/approvals',
    action: 'fleet.view',
    answers: 'json',
    tag: 'governance',
    summary: 'Approval requests, newest first',
    query: ApprovalQuery,
    response: ApprovalList,
  },
  'approval.show': {
    method: 'GET',
    path: '/v1/approvals/:id',
    action: 'fleet.view',
    answers: 'json',
    tag: 'governance',
    summary: 'One approval request with exactly what was asked',
    params: approvalId,
    response: ApprovalView,
  },
  'approval.approve': {
    method: 'POST',
    path: '/v1/approvals/:id/approve',
    action: 'approval.approve',
    answers: 'json',
    tag: 'governance',
    summary: 'Approve and execute',
    params: approvalId,
    body: z.strictObject({ sha256: Sha256 }),
    response: ApprovalAnswer,
  },
  'approval.refuse': {
    method: 'POST',
    path: '/v1/approvals/:id/refuse',
    action: 'approval.refuse',
    answers: 'json',
    tag: 'governance',
    summary: 'Refuse',
    params: approvalId,
    response: ApprovalAnswer,
  },
  'operator.list': {
    method: 'GET',
    path: '/v1/operators',
    action: 'fleet.view',
    answers: 'json',
    tag: 'governance',
    summary: 'Operators and their roles',
    response: OperatorList,
  },
  'operator.add': {
    method: 'POST',
    path: '/v1/operators',
    action: 'operator.add',
    answers: 'command',
    tag: 'governance',
    summary: 'Add an operator; the token stays with the client, its hash travels',
    body: OperatorAdd,
    response: CommandAnswer,
  },
  'policy.show': {
    method: 'GET',
    path: '/v1/policy',
    action: 'fleet.view',
    answers: 'json',
    tag: 'governance',
    summary: 'The policy in force',
    response: PolicyAnswer,
  },
  'policy.plan': {
    method: 'POST',
    path: '/v1/policy/plan',
    action: 'fleet.view',
    answers: 'json',
    tag: 'governance',
    summary: 'What applying a policy would change',
    body: PolicyApply.pick({ document: true }),
    response: PolicyPlanView,
  },
  'policy.apply': {
    method: 'POST',
    path: '/v1/policy',
    action: 'policy.apply',
    answers: 'command',
    tag: 'governance',
    summary: 'Apply a policy',
    body: PolicyApply,
    response: CommandAnswer,
  },

  'audit.records': {
    method: 'GET',
    path: '/v1/audit/records',
    action: 'audit.read',
    answers: 'json',
    tag: 'audit',
    summary: 'Audit records, ascending',
    query: AuditQuery,
    response: AuditPage,
  },
  'audit.head': {
    method: 'GET',
    path: '/v1/audit/head',
    action: 'audit.read',
    answers: 'json',
    tag: 'audit',
    summary: 'The last record and the last checkpoint',
    response: AuditHeadView,
  },
  'audit.export': {
    method: 'GET',
    path: '/v1/audit/export',
    action: 'audit.read',
    answers: 'lines',
    tag: 'audit',
    summary: 'Records and checkpoints as JSON lines (AuditExportLine)',
    query: AuditExportQuery,
  },
} as const satisfies Record<string, RouteDefinition>;

export type Routes = typeof ROUTES;
export type RouteName = keyof Routes;

type SchemaOf<Name extends RouteName, Part extends 'params' | 'query' | 'body' | 'response'> = Routes[Name] extends {
  readonly [P in Part]: infer Schema extends z.ZodType;
}
  ? Schema
  : undefined;
type Input<Schema> = Schema extends z.ZodType ? z.input<Schema> : undefined;
type Output<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;

/** What a client passes: parts that the route does not have are left out. */
export type RouteParams<Name extends RouteName> = Input<SchemaOf<Name, 'params'>>;
export type RouteQuery<Name extends RouteName> = Input<SchemaOf<Name, 'query'>>;
export type RouteBody<Name extends RouteName> = Input<SchemaOf<Name, 'body'>>;
/** What the route answers, parsed; undefined for streams and text. */
export type RouteAnswer<Name extends RouteName> = Output<SchemaOf<Name, 'response'>>;

/** What a handler gets: every part parsed. */
export interface RouteRequest<Name extends RouteName> {
  readonly params: Output<SchemaOf<Name, 'params'>>;
  readonly query: Output<SchemaOf<Name, 'query'>>;
  readonly body: Output<SchemaOf<Name, 'body'>>;
}

/** The path with its parameters filled in, percent-encoded. */
export function routePath(path: string, params: Readonly<Record<string, string | number>> = {}): string {
  return path.replaceAll(/:([a-z]+)/g, (_, name: string) => encodeURIComponent(String(params[name] ?? '')));
}
