import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { parseInventoryCsv } from '#gateway/cli/inventory/rows.ts';
import type { CroupierError } from '#schema/errors.ts';
import type { InventoryRow } from '#schema/inventory.ts';
import { expectRefusal } from '#test/support/expect-error.ts';

const CLASSES = ['egm', 'kiosk'];
const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');
const rows = (text: string | Buffer): InventoryRow[] =>
  parseInventoryCsv(typeof text === 'string' ? bytes(text) : text, { name: 'floor.csv', classes: CLASSES });
const refused = (text: string | Buffer): Promise<CroupierError> => expectRefusal('inventory.invalid', () => rows(text));

const ONE = { id: 'egm-1', class: 'egm', site: 'vegas', serial: 'S1', labels: {} };
const HEADER = 'id,class,site,serial';

describe('what asset registers write', () => {
  test.each([
    ['plain', `${HEADER}\negm-1,egm,vegas,S1\n`],
    ['with a byte order mark and CRLF', `\ufeff${HEADER}\r\negm-1,egm,vegas,S1\r\n`],
    ['with carriage returns alone', `${HEADER}\regm-1,egm,vegas,S1\r`],
    ['without a last line break', `${HEADER}\negm-1,egm,vegas,S1`],
    ['with semicolons', 'id;class;site;serial\negm-1;egm;vegas;S1\n'],
    ['with tabs', 'id\tclass\tsite\tserial\negm-1\tegm\tvegas\tS1\n'],
    ['with quoted fields', '"id","class","site","serial"\n"egm-1","egm","vegas","S1"\n'],
    ['with columns in another order and another case', 'Serial,SITE,Id,Class\nS1,vegas,egm-1,egm\n'],
    ['with blanks around fields', ' id , class , site , serial \n egm-1 , egm , vegas , S1 \n'],
    ['with empty lines and rows without values', `\n${HEADER}\n\n,,,\negm-1,egm,vegas,S1\n\n,,,\n`],
    ['with trailing separators', `${HEADER},,\negm-1,egm,vegas,S1,,\n`],
  ])('given a file %s, then its row is read', (_, text) => {
    expect(rows(text)).toEqual([ONE]);
  });

  test('given further columns, then they are labels, empty fields are none, and quotes keep separators', () => {
    const text = `${HEADER},Asset Tag,bank,note\negm-1,egm,vegas,S1,"A;1","7,5",\negm-2,egm,vegas,S2,,"say ""hi""\nthere",\n`;
    expect(rows(text)).toEqual([
      { ...ONE, labels: { 'asset-tag': 'A;1', bank: '7,5' } },
      { ...ONE, id: 'egm-2', serial: 'S2', labels: { bank: 'say "hi"\nthere' } },
    ]);
  });

  test('given no policy yet, then any class is left to the gateway', () => {
    const text = `${HEADER}\nx,anything,vegas,S1\n`;
    expect(parseInventoryCsv(bytes(text), { name: 'floor.csv', classes: undefined })).toHaveLength(1);
  });
});

describe('what is refused: line and reason are named, and nothing is imported', () => {
  test.each([
    ['a missing column', 'id,class,serial\na,egm,S\n', /line 1: the column site is missing; .*"id", "class", "serial"/],
    ['no header', 'egm-1,egm,vegas,S1\n', /line 1: the columns id, class, site, serial are missing/],
    ['a column twice', `${HEADER},ID\na,egm,v,S,b\n`, /line 1: the column id is there twice/],
    [
      'a label name that selectors cannot use',
      `${HEADER},7up\na,egm,v,S,x\n`,
      /line 1: "7up" cannot be the name of a label/,
    ],
    [
      'a value in a column without a name',
      `${HEADER},\na,egm,v,S,x\n`,
      /line 1: column 5 has no name, but line 2 has a value/,
    ],
    ['a duplicate id', `${HEADER}\na,egm,v,S\n\nb,egm,v,S\na,egm,v,S\n`, /line 5: device a is on line 2 already/],
    ['an unknown class', `${HEADER}\na,slot,v,S\n`, /line 2: class: slot is not in the policy, which has egm, kiosk/],
    ['an id that cannot be', `${HEADER}\n-a,egm,v,S\n`, /line 2: id: not a device id \("-a"\)/],
    ['a site in capitals', `${HEADER}\na,egm,Vegas,S\n`, /line 2: site: not a site name \("Vegas"\)/],
    ['an empty field', `${HEADER}\na,egm,,\n`, /line 2: site and serial are empty/],
    ['too few fields', `${HEADER}\na,egm\n`, /line 2: site and serial are empty/],
    ['too many fields', `${HEADER}\na,egm,v,S,x\n`, /line 2: it has 5 fields, the header row 4/],
    [
      'a quote that is never closed',
      `${HEADER}\na,egm,v,S\nb,egm,v,"S\nc,egm,v,S\n`,
      /line 3: a quoted field begins here/,
    ],
    ['text behind a closing quote', `${HEADER}\na,egm,v,"S"x\n`, /line 2: something follows the closing quote/],
    ['an empty file', '', /line 1: the file is empty/],
    ['a header alone', `${HEADER}\n`, /line 1: there is a header but no row/],
  ])('given %s', async (_, text, message) => {
    expect((await refused(text)).message).toMatch(message);
  });

  test('given rows after a field of several lines, then their lines are those of an editor', async () => {
    const { message } = await refused(`${HEADER},note\na,egm,v,S,"one\ntwo"\nb,slot,v,S,"x\ny"\n`);
    expect(message).toMatch(/^ {2}line 4: class/m);
  });

  test('given bytes that are not UTF-8, or UTF-16, then it says how to export instead', async () => {
    const latin = Buffer.concat([bytes(`${HEADER}\n`), Buffer.from('a,egm,v,\xe9\n', 'latin1')]);
    expect((await refused(latin)).message).toMatch(/line 2: this is not UTF-8; export the file as CSV UTF-8/);
    expect((await refused(Buffer.from(`\ufeff${HEADER}\n`, 'utf16le'))).message).toMatch(/UTF-16/);
    expect(rows(`${HEADER}\na,egm,v,é\n`)).toHaveLength(1);
  });

  test('given 25 bad rows, then 20 are listed and the rest is counted', async () => {
    const text = [HEADER, 'good,egm,v,S', ...Array.from({ length: 25 }, (_, index) => `d${index},slot,v,S`)].join('\n');
    const { message, detail } = await refused(text);
    expect(message.match(/^ {2}line \d+: /gm)).toHaveLength(20);
    expect(message).toMatch(/because of 25 lines; nothing was imported[^]*and 5 more$/);
    expect(detail['count']).toBe(25);
  });

  test('given more rows than one import takes, then the limit is named', async () => {
    const many = (count: number): string => `${HEADER}\n${'x,egm,v,S\n'.repeat(count)}`;
    await expectRefusal('input.too-large', () => rows(many(100_001)));
  });
});
