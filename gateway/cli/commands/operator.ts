/** `croupier operator`: tokens are made here; the gateway sees their hashes alone. */
import { access, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { Option } from 'commander';
import { CroupierError } from '#schema/errors.ts';
import { OperatorName } from '#schema/ids.ts';
import { ROLES, type Role } from '#schema/operators.ts';
import { parseWith } from '#schema/parse.ts';
import { loadConfig } from '#gateway/installation/config-file.ts';
import { dataDirectory, writePrivateFile } from '#gateway/installation/data-directory.ts';
import { foundOperator, hashToken, makeToken } from '#gateway/operators/operator-command.ts';
import { tokenFileOf } from '../client/credentials.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { describeAsked } from './answer.ts';
import type { Register } from './registration.ts';

interface AddOptions {
  readonly role: Role;
  readonly tokenOut?: string;
  readonly found?: true;
}

export const registerOperator: Register = (program, run) => {
  const operator = program.command('operator').description('who may do what');
  operator
    .command('list')
    .description('operators and their roles')
    .action(
      run(async (context: Context): Promise<Outcome> => {
        const api = await context.connect('fleet.view');
        const document = await api.call('operator.list', {});
        const rows = document.items.map((item): Cell[] => [item.name, item.role, item.createdAt, item.createdBy]);
        return { document, text: table(['OPERATOR', 'ROLE', 'SINCE', 'ADDED BY'], rows, context.paint) };
      }),
    );
  operator
    .command('add')
    .argument('<name>')
    .addOption(new Option('--role <role>', 'what the operator may do').choices(ROLES).makeOptionMandatory())
    .option(
      '--token-out <file>',
      'where the token goes, mode 0600 (default: operators/NAME.token in the data directory)',
    )
    .option('--found', 'add the first operator of the role on the data directory itself, since nobody could approve it')
    .description('add an operator with a new token (needs an approval; see --found)')
    .action(run((context, name: string, options: AddOptions) => addOperator(context, name, options)));
};

async function addOperator(context: Context, given: string, options: AddOptions): Promise<Outcome> {
  const name = parseWith(OperatorName, given, 'input.invalid', 'operator');
  const file = path.resolve(options.tokenOut ?? tokenFileOf(context.options.data, name));
  const taken = await access(file).then(
    () => true,
    () => false,
  );
  if (taken)
    throw new CroupierError(
      'operator.exists',
      `${file} is there already; move it away, or name another file with --token-out`,
    );
  const token = makeToken(context.random);
  const request = { name, role: options.role, tokenHash: hashToken(token) };
  return options.found === undefined ? ask(context, request, token, file) : found(context, request, token, file);
}

interface NewOperator {
  readonly name: OperatorName;
  readonly role: Role;
  readonly tokenHash: string;
}

async function writeToken(file: string, token: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await writePrivateFile(file, `${token}\n`);
}

async function ask(context: Context, request: NewOperator, token: string, file: string): Promise<Outcome> {
  const api = await context.connect('operator.add');
  const answer = await api.call('operator.add', { body: request });
  await writeToken(file, token);
  const document = { ...answer, tokenFile: file };
  if (answer.state === 'done') return { document, text: added(request, file) };
  return {
    document,
    text: `token written to ${file}; it works when the request is approved\n${describeAsked(answer.approval)}`,
  };
}

const added = ({ name, role }: NewOperator, file: string): string =>
  `${name} is ${role}; token in ${file}: hand it over in person\n`;

/** Whoever may write the data directory could not be kept from this anyway; the audit says that it was done so. */
async function found(context: Context, request: NewOperator, token: string, file: string): Promise<Outcome> {
  const { openSqliteStore } = await import('#gateway/store/sqlite/open.ts');
  const config = await loadConfig(dataDirectory(context.options.data));
  const store = await openSqliteStore({
    path: config.store.path,
    realm: config.realm,
    clock: context.clock,
    busyTimeoutMs: config.store.busyTimeout,
  });
  try {
    await foundOperator(store, context.clock, request, { type: 'console', id: 'operator add --found' });
  } finally {
    await store.close();
  }
  await writeToken(file, token);
  const { name, role } = request;
  return { document: { state: 'done', result: { name, role }, tokenFile: file }, text: added(request, file) };
}
