import { describe, expect, test } from 'vitest';
import { Config, WebhookConfig } from '#schema/config.ts';

describe('the configuration of webhooks', () => {
  const parse = (over: object): boolean =>
    WebhookConfig.safeParse({ name: 'chat', url: 'https://hooks.example/x', secretFile: 's', events: ['*'], ...over })
      .success;

  test.each([
    ['an https URL', { url: 'https://hooks.example:8443/x?y=1' }],
    ['an http URL of this machine', { url: 'http://127.0.0.1:9000/' }],
    ['an http URL of this machine, IPv6', { url: 'http://[::1]:9000/' }],
    ['an http URL of localhost', { url: 'http://localhost:9000/' }],
    ['patterns', { events: ['rollout.*', 'alert.report.forked', '*.quarantine'] }],
  ])('given %s, then it is taken', (_, over) => {
    expect(parse(over)).toBe(true);
  });

  test.each([
    ['an http URL of another machine', { url: 'http://hooks.example/' }],
    ['an http URL that only looks like this machine', { url: 'http://127.0.0.1.example/' }],
    ['an http URL whose user name is this machine', { url: 'http://localhost@hooks.example/' }],
    ['a password in the URL', { url: 'https://user:word@hooks.example/' }],
    ['another scheme', { url: 'file:///etc/passwd' }],
    ['no URL', { url: 'hooks.example' }],
    ['no events', { events: [] }],
    ['a pattern that no action can match', { events: ['Rollout Pause'] }],
    ['a key that nobody knows', { retries: 3 }],
  ])('given %s, then it is refused', (_, over) => {
    expect(parse(over)).toBe(false);
  });

  test('given two webhooks, when they have one name, then the configuration is refused; with two names it is taken', () => {
    const hook = (name: string) => ({ name, url: 'https://hooks.example/', secretFile: 's', events: ['*'] });
    const hsm = { module: 'm', token: 't', pinFile: 'p' };
    const whole = (...names: readonly string[]) => ({
      realm: 'prod',
      operator: 'Casino',
      hsm,
      webhooks: names.map(hook),
    });
    expect(Config.safeParse(whole('chat', 'pager')).success).toBe(true);
    expect(Config.safeParse(whole('chat', 'chat')).success).toBe(false);
  });
});
