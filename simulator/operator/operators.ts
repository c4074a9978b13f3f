/** The people of an installation, by role, with what they do together: one asks, another approves. */
import type { z } from 'zod';
import type { CommandAnswer } from '#schema/api/commands.ts';
import type { RunFile } from '#schema/config.ts';
import { CroupierError, errorCode } from '#schema/errors.ts';
import type { ApprovalId } from '#schema/ids.ts';
import type { Role } from '#schema/operators.ts';
import { parseWith } from '#schema/parse.ts';
import { createOperatorClient, type OperatorClient } from './client.ts';
import { gatewayName, type Installation } from './installation.ts';

export interface Operator {
  readonly name: string;
  readonly role: Role;
  readonly client: OperatorClient;
}

export interface Operators {
  /** Errors: `config.missing` when the data directory has no token of this role. */
  as(role: Role): Operator;
  /** Approves, as the approver, exactly what stands in the request. Returns what came of it. Errors: `approval.*`, those of the command. */
  approve(id: ApprovalId): Promise<unknown>;
  /** What came of a command, once it has been approved if it must be. Errors: as `approve`. */
  complete<Schema extends z.ZodType>(answer: CommandAnswer, schema: Schema): Promise<z.infer<Schema>>;
  close(): void;
}

/** Undefined for a token that the gateway does not know: its operator may not have been approved yet. */
async function roleOf(client: OperatorClient): Promise<Role | undefined> {
  try {
    return (await client.call('self.show', {})).role;
  } catch (error) {
    if (errorCode(error) === 'operator.unauthenticated') return undefined;
    throw error;
  }
}

/** Speaks as everybody whose token is in the data directory. Errors: `network.*`. */
export async function openOperators(installation: Installation, run: RunFile): Promise<Operators> {
  const clients: OperatorClient[] = [];
  const close = (): void => clients.forEach((client) => client.close());
  const known: Operator[] = [];
  try {
    for (const { name, token } of installation.tokens) {
      const client = createOperatorClient({
        host: run.host,
        port: run.ports.api,
        serverName: gatewayName(installation),
        ca: installation.ca,
        token,
      });
      clients.push(client);
      const role = await roleOf(client);
      if (role !== undefined) known.push({ name, role, client });
    }
  } catch (error) {
    close();
    throw error;
  }

  const as = (role: Role): Operator => {
    const found = known.find((operator) => operator.role === role);
    if (found !== undefined) return found;
    throw new CroupierError('config.missing', `${installation.directory}/operators has no token of a ${role}`);
  };
  const approve = async (id: ApprovalId): Promise<unknown> => {
    const { client } = as('approver');
    const { sha256 } = await client.call('approval.show', { params: { id } });
    const { result } = await client.call('approval.approve', { params: { id }, body: { sha256 } });
    return result;
  };
  return {
    as,
    approve,
    complete: async (answer, schema) => {
      const result = answer.state === 'done' ? answer.result : await approve(answer.approval.id);
      return parseWith(schema, result, 'json.malformed', 'result of the command');
    },
    close,
  };
}
