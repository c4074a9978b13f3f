/** `croupier trust`: the numbered trust bundles. */
import { z } from 'zod';
import { certificateFingerprint, parseCertificate } from '#pki/certificate/parse.ts';
import { TrustVersion } from '#schema/ids.ts';
import type { TrustBundleView } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { countOf, type Paint } from '../output/text.ts';
import { readAnchors, withAnchors, type AnchorOptions } from './anchors.ts';
import { outcomeOf } from './answer.ts';
import { allItems, PAGE } from './pages.ts';
import { parsedBy, type Register } from './registration.ts';
import { registerTrustImport } from './trust-import.ts';
import { termsOf, withTerms, type TermOptions } from './rollout-terms.ts';

interface PublishOptions extends TermOptions, AnchorOptions {
  readonly reason?: string;
}

export const registerTrust: Register = (program, run) => {
  const trust = program.command('trust').description('trust bundles');
  trust
    .command('show')
    .argument('[version]', 'one bundle with its anchors', parsedBy(z.coerce.number().pipe(TrustVersion)))
    .description('all trust bundles, or one')
    .action(
      run((context, version: TrustVersion | undefined) =>
        version === undefined ? listBundles(context) : showBundle(context, version),
      ),
    );
  const publishing = trust
    .command('publish')
    .option('--reason <text>', 'stands in the request that is approved')
    .description('publish the next trust bundle (needs an approval)');
  withTerms(withAnchors(publishing)).action(run((context, options: PublishOptions) => publish(context, options)));
  registerTrustImport(trust, run);
};

async function listBundles(context: Context): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const items = await allItems(async (after: number | undefined) => {
    const page = await api.call('trust.list', { query: { limit: PAGE, ...(after === undefined ? {} : { after }) } });
    const last = page.items.at(-1)?.version;
    return { items: page.items, next: last !== undefined && last < (page.latest ?? 0) ? last : null };
  });
  const rows = items.map((item): Cell[] => [
    item.version,
    item.issuedAt,
    item.expiresAt,
    Object.entries(item.anchors)
      .map(([purpose, anchors]) => `${purpose} ${anchors}`)
      .join(', '),
    item.sha256.slice(0, 16),
  ]);
  return {
    document: { items },
    text: table([{ title: 'VERSION', align: 'right' }, 'ISSUED', 'EXPIRES', 'ANCHORS', 'SHA-256'], rows, context.paint),
  };
}

async function showBundle(context: Context, version: TrustVersion): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('trust.show', { params: { version } });
  return { document, text: describe(document, context.paint) };
}

function describe({ body, sha256 }: TrustBundleView, paint: Paint): string {
  const about = facts(
    [
      ['version', body.version],
      ['realm', body.realm],
      ['issued', body.issuedAt],
      ['expires', body.expiresAt],
      ['sha256', sha256],
      ['previous', body.previous ?? undefined],
      ...body.messageSigners.map(({ role, spkiSha256 }): [string, Cell] => [`${role} signer`, spkiSha256]),
    ],
    paint,
  );
  const rows = Object.entries(body.anchors).flatMap(([purpose, anchors]) =>
    anchors.map((anchor): Cell[] => {
      const certificate = parseCertificate(Buffer.from(anchor, 'base64'));
      return [
        purpose,
        certificate.subjectName.commonName,
        certificate.notAfter.toISOString(),
        certificateFingerprint(certificate.der),
      ];
    }),
  );
  return `${about}\n${table(['PURPOSE', 'ANCHOR', 'NOT AFTER', 'SHA-256'], rows, paint)}`;
}

async function publish(context: Context, options: PublishOptions): Promise<Outcome> {
  const anchors = await readAnchors(options);
  const api = await context.connect('trust.publish');
  const answer = await api.call('trust.publish', {
    body: { anchors, ...(options.reason === undefined ? {} : { reason: options.reason }), ...termsOf(options) },
  });
  const changed = Object.keys(anchors).length;
  return outcomeOf(
    answer,
    `the next trust bundle is published${changed === 0 ? '' : `, with ${countOf(changed, 'purpose')} changed`}\n`,
  );
}
