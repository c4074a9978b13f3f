/** What the routes are made of: one handler for each route that answers with a document. */
import type { CommandAction, CommandAnswer } from '#schema/api/commands.ts';
import type { RouteAnswer, RouteName, RouteRequest, Routes } from '#schema/api/routes.ts';
import type { RolloutPlanRequest, StatusView, TicketInfo } from '#schema/api/views.ts';
import type { Policy } from '#schema/policy.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { CommandDesk } from '#gateway/operators/command.ts';
import type { OperatorRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import type { DryRun } from '#gateway/rollout/dry-run.ts';
import type { EventFeed } from '../events.ts';

export type DocumentRoute = {
  [Name in RouteName]: Routes[Name]['answers'] extends 'json' | 'command' ? Name : never;
}[RouteName];
export type StreamRoute = Exclude<RouteName, DocumentRoute>;

export type DocumentHandler<Name extends DocumentRoute> = (
  request: RouteRequest<Name>,
  operator: OperatorRecord,
) => Promise<RouteAnswer<Name>>;

export type DocumentHandlers = { readonly [Name in DocumentRoute]: DocumentHandler<Name> };

/**
 * What a rollout would do if it were started now. Errors: `keyset.not-found`, `keyset.state-refused`,
 * `rollout.plan-not-found`, `store.unavailable`, `hsm.*`.
 */
export type PlanRollout = (request: Omit<RolloutPlanRequest, 'all'>) => Promise<DryRun>;

export interface HandlerPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly feed: EventFeed;
  /** The policy in force. */
  readonly policy: () => Policy;
  readonly planRollout: PlanRollout;
  readonly status: () => Promise<StatusView>;
  readonly ticketInfo: () => TicketInfo;
  readonly decide: CommandDesk['decide'];
  /** Submits to the command desk and tells those who look on. */
  readonly submit: (operator: OperatorRecord, action: CommandAction, request: unknown) => Promise<CommandAnswer>;
}
