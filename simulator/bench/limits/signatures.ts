/** signatures.ts DIRECTORY MODULE MODE MILLISECONDS: signs through our KeyStore on a token of its own. */
import { randomBytes } from 'node:crypto';
import { openPkcs11KeyStore } from '#pki/keystore/pkcs11/key-store.ts';
import { initToken } from '#pki/keystore/softhsm.ts';

const IN_FLIGHT = 8;
const [directory = '', module = '', mode = '', milliseconds = ''] = process.argv.slice(2);
const pin = randomBytes(12).toString('hex');
await initToken({ directory, module, label: 'limit', soPin: pin, pin });
const store = await openPkcs11KeyStore({
  module,
  tokenLabel: 'limit',
  pin: async () => pin,
  signing: mode === 'sync' ? 'sync' : 'async',
});
const signer = await store.generateSigningKey('limit', 'EC-P256');
const data = randomBytes(700);
const begun = performance.now();
let done = 0;
const worker = async (): Promise<void> => {
  while (performance.now() - begun < Number(milliseconds)) {
    await signer.sign(data);
    done += 1;
  }
};
await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
process.stdout.write(`${JSON.stringify({ perSecond: (done * 1000) / (performance.now() - begun) })}\n`);
await store.close();
