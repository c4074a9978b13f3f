import { describe, expect, test } from 'vitest';
import { ChangeFeed, type FeedEntry } from '#agent/local/change-feed.ts';
import { FakeAgentView } from '#test/support/fake-agent-view.ts';

const nobody = (): void => undefined;

describe('given a feed that keeps three changes', () => {
  test('when a watch resumes within them, then it gets exactly what it missed', () => {
    const view = new FakeAgentView();
    const feed = new ChangeFeed(view, 3);
    for (const version of [1, 2, 3, 4, 5]) view.store('wallet-kek', version);
    expect(feed.subscribe(2, nobody).missed?.map(({ generation }) => generation)).toEqual([3, 4, 5]);
    expect(feed.subscribe(4, nobody).missed?.map(({ generation }) => generation)).toEqual([5]);
    expect(feed.subscribe(5, nobody).missed).toEqual([]);
  });

  test('when a watch resumes before them, or ahead of the agent, or for the first time, then it is told to read anew', () => {
    const view = new FakeAgentView();
    const feed = new ChangeFeed(view, 3);
    for (const version of [1, 2, 3, 4, 5]) view.store('wallet-kek', version);
    expect(feed.subscribe(1, nobody).missed).toBeUndefined();
    expect(feed.subscribe(6, nobody).missed).toBeUndefined();
    expect(feed.subscribe(undefined, nobody).missed).toBeUndefined();
  });

  test('when the agent had changes before the feed began, then those are not pretended to be known', () => {
    const view = new FakeAgentView();
    view.store('wallet-kek', 1);
    const feed = new ChangeFeed(view, 3);
    expect(feed.subscribe(0, nobody).missed).toBeUndefined();
    expect(feed.subscribe(1, nobody).missed).toEqual([]);
  });
});

test('given a subscription, when it ends, then it hears no more; when the feed closes, then it leaves the agent', () => {
  const view = new FakeAgentView();
  const feed = new ChangeFeed(view);
  const heard: FeedEntry[] = [];
  const subscription = feed.subscribe(undefined, (entry) => heard.push(entry));
  view.store('wallet-kek', 1);
  expect(heard).toEqual([
    { generation: 1, change: { kind: 'keyring', keySet: 'wallet-kek', revision: 1, active: null } },
  ]);
  subscription.end();
  view.store('wallet-kek', 2);
  expect(heard).toHaveLength(1);
  feed.close();
  expect(view.listenerCount).toBe(0);
});
