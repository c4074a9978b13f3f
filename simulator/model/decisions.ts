/** What the gateway decides: its own functions, unless a test puts another one in the place of one of them. */
import { decideDispatch } from '#gateway/delivery/decide-dispatch.ts';
import { decideReport } from '#gateway/delivery/decide-report.ts';
import { decideRotation } from '#gateway/keys/decide-rotation.ts';
import { decideProgress } from '#gateway/rollout/decide.ts';
import {
  decideAbort,
  decideDestroy,
  decideExempt,
  decidePause,
  decideResume,
  decideRetire,
  decideRetry,
  decideSignOff,
} from '#gateway/rollout/decide-operator.ts';
import { decideVanished } from '#gateway/rollout/unanswered.ts';

export const DECISIONS = {
  dispatch: decideDispatch,
  report: decideReport,
  progress: decideProgress,
  rotation: decideRotation,
  pause: decidePause,
  resume: decideResume,
  abort: decideAbort,
  retire: decideRetire,
  destroy: decideDestroy,
  retry: decideRetry,
  exempt: decideExempt,
  signOff: decideSignOff,
  vanished: decideVanished,
};
export type Decisions = typeof DECISIONS;
