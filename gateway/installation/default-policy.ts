/** The policy that a new installation starts with; meant to be edited and applied. */
export const DEFAULT_POLICY = `# Croupier fleet policy. Apply changes with: croupier apply policy.yaml
# Durations: 90d, 12h, 30m, 10s. Every key with its default: docs/policy.md
version: 1

classes:
  egm: # slot machines
    keyTypes: [EC-P256, EC-P384, RSA-2048, RSA-3072]
    validity: 365d
    grace: 400d
  kiosk:
    keyTypes: [EC-P256, EC-P384]
    validity: 365d
    grace: 90d
  pos:
    keyTypes: [EC-P256, EC-P384, RSA-2048, RSA-3072]
    validity: 365d
    grace: 90d
  service: # servers that share keys with devices
    keyTypes: [EC-P256, EC-P384]
    validity: 90d
    grace: 7d

keySets:
  wallet-kek: # wraps wallet session keys; shared by the floor and the wallet service
    algorithm: AES-256
    use: wrap
    scope: shared
    cryptoperiod: 90d
  report-mac: # authenticates meter reports; one per device
    algorithm: HMAC-SHA256
    use: mac
    scope: per-device
    selector:
      class: [egm, kiosk, pos]
    cryptoperiod: 180d
`;
