/**
 * Commands of operators: one way for all of them. Submitting checks the role, executes at once or asks for an approval;
 * an approval executes exactly the request it was bound to.
 */
import { randomUUID } from 'node:crypto';
import { asCroupierError, CroupierError, errorCode, errorMessage } from '#schema/errors.ts';
import type { AuditActor, AuditEvent } from '#schema/audit.ts';
import {
  COMMANDS,
  isCommandAction,
  type CommandAction,
  type CommandAnswer,
  type CommandRequest,
} from '#schema/api/commands.ts';
import { ApprovalId } from '#schema/ids.ts';
import { parseJson, parseWith } from '#schema/parse.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Json } from '#schema/runtime/canonical-json.ts';
import type { Log } from '#gateway/ports/log.ts';
import type { ApprovalRecord, OperatorRecord } from '#gateway/ports/store/records.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { actorOf, composeApproval, decideApproval } from './approval.ts';
import { decidePermission } from './matrix.ts';

/** On whose authority a command runs. */
export interface Authority {
  readonly actor: AuditActor;
  readonly approval: AuditEvent['approval'];
  /** When it was asked for, if that was earlier: what has happened since, the approver may not have known. */
  readonly askedAt?: Date;
}

export interface Command<A extends CommandAction> {
  /** Fills in what the requester left open, so that an approval binds to all of it. */
  complete?(request: CommandRequest<A>): Promise<CommandRequest<A>>;
  /** One line for approvers, e.g. "rotate wallet-kek". */
  summary(request: CommandRequest<A>): string;
  /** How many things the request touches, for bulk limits; 1 unless told. */
  count?(request: CommandRequest<A>): number;
  /** Refuses early what could not be executed, before anybody is asked to approve it. */
  check?(request: CommandRequest<A>): Promise<void>;
  /** Writes its own audit record in the transaction of its change. The result holds no secret. */
  execute(request: CommandRequest<A>, authority: Authority): Promise<Json>;
}

export type CommandTable = { readonly [A in CommandAction]: Command<A> };

export interface CommandPorts {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly commands: CommandTable;
}

export interface CommandDesk {
  /** Errors: `operator.forbidden`, `input.invalid`, those of the command. */
  submit<A extends CommandAction>(operator: OperatorRecord, action: A, request: unknown): Promise<CommandAnswer>;
  /** Approves and executes, or refuses. Errors: `approval.*`, `operator.forbidden`, those of the command. */
  decide(
    operator: OperatorRecord,
    id: ApprovalId,
    verdict: 'approved' | 'refused',
    hash: string | undefined,
  ): Promise<{ readonly approval: ApprovalRecord; readonly result: Json }>;
  /**
   * Closes approvals that the end of a gateway interrupted. To be called once, before anything is approved. They are not
   * carried out again: the audit trail tells whether they were.
   */
  closeInterrupted(): Promise<void>;
}

/** Approvals closed in one go. */
const INTERRUPTED = 1_000;

export function createCommandDesk(ports: CommandPorts): CommandDesk {
  const { store, clock, commands, log } = ports;

  const parse = <A extends CommandAction>(action: A, request: unknown): CommandRequest<A> =>
    parseWith(COMMANDS[action], request, 'input.invalid', action);

  const deny = async (operator: OperatorRecord, action: string, error: CroupierError): Promise<void> => {
    await store.appendAudit([{ action, outcome: 'denied', code: error.code, actor: actorOf(operator) }], clock.now());
  };

  const ask = async <A extends CommandAction>(
    operator: OperatorRecord,
    action: A,
    request: CommandRequest<A>,
    summary: string,
  ): Promise<CommandAnswer> => {
    const { approval, audit } = composeApproval(
      ApprovalId.parse(randomUUID()),
      action,
      summary,
      toJson(request),
      operator,
      clock.now(),
    );
    await store.addApproval(approval, audit);
    log.info({ approval: approval.id, action, requester: operator.name }, `approval asked: ${summary}`);
    return {
      state: 'approval-required',
      approval: {
        id: approval.id,
        action,
        summary,
        sha256: approval.sha256,
        expiresAt: approval.expiresAt.toISOString(),
      },
    };
  };

  const submit = async <A extends CommandAction>(
    operator: OperatorRecord,
    action: A,
    raw: unknown,
  ): Promise<CommandAnswer> => {
    const request = parse(action, raw);
    const command: Command<A> = commands[action];
    let permission: 'execute' | 'request';
    try {
      permission = decidePermission(operator.role, action, command.count?.(request) ?? 1);
    } catch (error) {
      if (error instanceof CroupierError) await deny(operator, action, error);
      throw error;
    }
    const whole = (await command.complete?.(request)) ?? request;
    await command.check?.(whole);
    if (permission === 'request') return ask(operator, action, whole, command.summary(whole));
    return {
      state: 'done',
      result: plain(await command.execute(whole, { actor: actorOf(operator), approval: undefined })),
    };
  };

  const execute = async <A extends CommandAction>(
    approval: ApprovalRecord,
    action: A,
    approver: string,
  ): Promise<Json> => {
    const request = parseJson(COMMANDS[action], approval.request, 'store.corrupt', 'approved request');
    const command: Command<A> = commands[action];
    return command.execute(request, {
      actor: { type: 'operator', id: approval.requester },
      approval: { id: approval.id, hash: approval.sha256, approvers: [approver] },
      askedAt: approval.createdAt,
    });
  };

  const fail = (approval: ApprovalRecord, actor: AuditActor, error: unknown): Promise<void> =>
    store.finishApproval(
      approval.id,
      'failed',
      JSON.stringify({ code: errorCode(error), message: errorMessage(error) }),
      {
        action: 'approval.execute',
        outcome: 'error',
        code: errorCode(error),
        actor,
        object: { type: 'approval', id: approval.id },
        details: { action: approval.action },
      },
    );

  const finish = async (approval: ApprovalRecord, operator: OperatorRecord, action: CommandAction): Promise<Json> => {
    let result: Json;
    try {
      result = await execute(approval, action, operator.name);
    } catch (error) {
      await fail(approval, actorOf(operator), error).catch((fault: unknown) =>
        log.error({ approval: approval.id }, `failure of an approved request not recorded: ${errorMessage(fault)}`),
      );
      throw asCroupierError(error, 'internal.unexpected');
    }
    await store.finishApproval(approval.id, 'executed', JSON.stringify(result), {
      action: 'approval.execute',
      outcome: 'success',
      actor: actorOf(operator),
      object: { type: 'approval', id: approval.id },
      details: { action },
    });
    return result;
  };

  const decide: CommandDesk['decide'] = async (operator, id, verdict, hash) => {
    const now = clock.now();
    const { outcome, approval } = await store.decideApproval(id, now, (found) =>
      decideApproval(found, operator, verdict, hash, now),
    );
    if (outcome.kind === 'refuse') throw outcome.error;
    if (approval === undefined) throw new CroupierError('approval.not-found');
    if (outcome.state !== 'approved') return { approval, result: null };
    if (!isCommandAction(approval.action))
      throw new CroupierError('store.corrupt', `approval ${id} is for ${approval.action}, which nobody can ask for`);
    const result = await finish(approval, operator, approval.action);
    return { approval: (await store.approval(id)) ?? approval, result };
  };

  const closeInterrupted = async (): Promise<void> => {
    for (;;) {
      const interrupted = await store.approvals('approved', INTERRUPTED);
      for (const approval of interrupted) {
        const error = new CroupierError(
          'approval.interrupted',
          'the gateway ended while the request was carried out; the audit trail tells whether it was',
        );
        await fail(approval, { type: 'gateway', id: 'main' }, error);
        log.warn({ approval: approval.id, action: approval.action }, `approved request closed: ${error.message}`);
      }
      if (interrupted.length < INTERRUPTED) return;
    }
  };

  return { submit, decide, closeInterrupted };
}

/** A parsed request is plain data already; this makes the type say so. */
function toJson(value: object): Json {
  const copy: Json = JSON.parse(JSON.stringify(value));
  return copy;
}

/** The result as an answer's schema wants it. */
function plain(value: Json): Extract<CommandAnswer, { state: 'done' }>['result'] {
  const copy: Extract<CommandAnswer, { state: 'done' }>['result'] = JSON.parse(JSON.stringify(value));
  return copy;
}
