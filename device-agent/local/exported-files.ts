/** Which files an exported generation holds: a pure function of what the agent holds. */
import { CroupierError } from '#schema/errors.ts';
import { TrustPurpose } from '#schema/messages/trust-bundle.ts';
import type { AgentView } from '../view.ts';
import { identityDocument, keyringDocument, privateKeyPem, trustDocument, usableVersions } from './documents.ts';

export interface ExportedFile {
  /** Relative, with forward slashes; every part comes from a validated name. */
  readonly path: string;
  readonly content: string | Uint8Array;
}

export interface ExportedLink {
  readonly path: string;
  readonly target: string;
}

export interface ExportedGeneration {
  readonly generation: number;
  readonly files: readonly ExportedFile[];
  readonly links: readonly ExportedLink[];
}

export const IDENTITY_KEY_FILE = 'identity.key';

/**
 * The files of the present moment. Working keys are raw bytes, in copies that the caller wipes, and are left out unless
 * `withKeys`. Errors: `agent.state-corrupt` for a trust purpose that cannot be a file name.
 */
export function exportedGeneration(view: AgentView, withKeys: boolean): ExportedGeneration {
  const files: ExportedFile[] = [];
  const links: ExportedLink[] = [];
  const identity = view.identity();
  const trust = view.trust();
  if (identity !== undefined) {
    const { certificate, chain } = identityDocument(identity);
    files.push(
      { path: 'identity.crt', content: certificate },
      { path: 'chain.pem', content: chain },
      { path: 'fullchain.pem', content: certificate + chain },
      { path: IDENTITY_KEY_FILE, content: privateKeyPem(identity) },
    );
  }
  if (trust !== undefined) {
    for (const [purpose, pem] of Object.entries(trustDocument(trust).anchors)) {
      if (!TrustPurpose.safeParse(purpose).success)
        throw new CroupierError('agent.state-corrupt', 'a trust purpose is no name');
      files.push({ path: `trust/${purpose}.pem`, content: pem });
    }
  }
  for (const keyring of withKeys ? view.keyrings() : []) {
    const directory = `keys/${keyring.keySet}`;
    files.push({ path: `${directory}/keyring.json`, content: json(keyringDocument(keyring)) });
    const usable = usableVersions(keyring);
    for (const { version } of usable) {
      const content = view.keyBytes(keyring.keySet, version);
      if (content === undefined) continue;
      files.push({ path: `${directory}/${version}.key`, content });
      if (version === keyring.active) links.push({ path: `${directory}/active`, target: `${version}.key` });
    }
  }
  const summary = {
    generation: view.generation(),
    ...(identity === undefined
      ? {}
      : {
          realm: identity.realm,
          device: identity.device,
          serial: identity.serial,
          notAfter: identity.notAfter.toISOString(),
        }),
    trustVersion: trust?.version ?? 0,
    workingKeys: withKeys,
  };
  files.push({ path: 'agent.json', content: json(summary) });
  return { generation: summary.generation, files, links };
}

const json = (value: object): string => `${JSON.stringify(value, null, 2)}\n`;
