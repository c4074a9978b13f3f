import { describe, expect, test } from 'vitest';
import { ChangeFeed, type FeedEntry } from '#agent/local/change-feed.ts';
import { FakeAgentView } from '#test/support/fake-agent-view.ts';

const nobody = (): void => undefined;
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

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

test('given a subscription, when it ends, then it hears no more; when the feed closes, then it leaves the agent', async () => {
  const view = new FakeAgentView();
  const feed = new ChangeFeed(view);
  const heard: FeedEntry[] = [];
  const subscription = feed.subscribe(undefined, (entry) => heard.push(entry));
  view.store('wallet-kek', 1);
  await settled();
  expect(heard).toEqual([
    { generation: 1, changes: [{ kind: 'keyring', keySet: 'wallet-kek', revision: 1, active: null }] },
  ]);
  subscription.end();
  view.store('wallet-kek', 2);
  await settled();
  expect(heard).toHaveLength(1);
  feed.close();
  expect(view.listenerCount).toBe(0);
});

test('given a commit with several changes, then it is one entry, and commits that change nothing are none', async () => {
  const view = new FakeAgentView();
  const feed = new ChangeFeed(view);
  const heard: FeedEntry[] = [];
  feed.subscribe(undefined, (entry) => heard.push(entry));
  view.together(() => {
    view.store('wallet-kek', 1);
    view.store('jackpot-mac', 1);
  });
  view.commitUnseen();
  view.store('wallet-kek', 2);
  await settled();
  expect(heard.map(({ generation, changes }) => [generation, changes.length])).toEqual([
    [1, 2],
    [3, 1],
  ]);
  expect(feed.subscribe(0, nobody).missed).toEqual(heard);
  expect(feed.subscribe(2, nobody).missed).toEqual(heard.slice(1));
});

test('given a change that was just told, when a watch begins in the same moment, then it neither misses nor repeats it', async () => {
  const view = new FakeAgentView();
  const feed = new ChangeFeed(view);
  const heard: FeedEntry[] = [];
  view.store('wallet-kek', 1);
  const { missed } = feed.subscribe(0, (entry) => heard.push(entry));
  await settled();
  expect([...(missed ?? []), ...heard].map(({ generation }) => generation)).toEqual([1]);
});
