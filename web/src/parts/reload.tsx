/** Reads the configuration again: first only to say what would become different, then, if that is wanted, to put it in force. */
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { ReloadAnswer, StatusAnswer } from '../../../src/admin/contract.ts';
import { reload, wantsKey, wordsFor } from '../api.ts';
import { askForKey } from '../store.ts';
import { Difference } from './difference.tsx';
import { areAmong, Problems, type Problem } from './problems.tsx';

type Step =
  | { readonly kind: 'idle' }
  | { readonly kind: 'asking'; readonly preview: ReloadAnswer | null }
  | { readonly kind: 'preview'; readonly answer: ReloadAnswer }
  /** `otherwise`: what was put in force is not what had been shown before. */
  | { readonly kind: 'done'; readonly answer: ReloadAnswer; readonly otherwise: boolean }
  | { readonly kind: 'trouble'; readonly text: string; readonly key: boolean };

const NEEDS_KEY = 'Reloading needs an admin key.';

interface Reloading {
  readonly step: Step;
  look(): Promise<void>;
  apply(preview: ReloadAnswer): Promise<void>;
  leave(): void;
}

function useReload(admin: boolean, version: number): Reloading {
  const [step, setStep] = useState<Step>({ kind: 'idle' });
  const failed = (error: unknown): void => setStep({ kind: 'trouble', text: wordsFor(error), key: wantsKey(error) });
  const look = async (): Promise<void> => {
    if (!admin) {
      setStep({ kind: 'trouble', text: NEEDS_KEY, key: true });
      return;
    }
    setStep({ kind: 'asking', preview: null });
    await reload(true).then((answer) => setStep({ kind: 'preview', answer }), failed);
  };
  const apply = async (preview: ReloadAnswer): Promise<void> => {
    setStep({ kind: 'asking', preview });
    await reload(false).then((answer) => {
      const otherwise = JSON.stringify(answer.diff) !== JSON.stringify(preview.diff);
      setStep({ kind: 'done', answer, otherwise });
    }, failed);
  };
  // The files may have been read by somebody else meanwhile: what is shown then is of yesterday.
  const outdated = step.kind === 'preview' && version > step.answer.version;
  useEffect(() => {
    if (outdated) void look();
  }, [outdated]);
  return { step, look, apply, leave: () => setStep({ kind: 'idle' }) };
}

interface ReloadProps {
  readonly status: StatusAnswer;
  readonly admin: boolean;
}

export function Reload({ status, admin }: ReloadProps) {
  const { step, look, apply, leave } = useReload(admin, status.config.version);
  const button = useRef<HTMLButtonElement>(null);
  // Whoever closed it with the keyboard goes on from where it was opened.
  const close = (): void => {
    leave();
    button.current?.focus();
  };
  return (
    <div class="reload">
      <p class="actions">
        <button type="button" ref={button} disabled={step.kind === 'asking'} onClick={() => void look()}>
          Reload …
        </button>
        <span class="quiet">first shows what would become different</span>
      </p>
      {step.kind === 'trouble' && (
        <p class="trouble" role="alert">
          {step.text}{' '}
          {step.key && (
            <button type="button" class="link" onClick={() => askForKey(step.text)}>
              Enter a key
            </button>
          )}
        </p>
      )}
      {step.kind === 'asking' && !step.preview && <p class="quiet">Reading the configuration …</p>}
      {step.kind === 'asking' && step.preview && <Panel answer={step.preview} status={status} busy />}
      {step.kind === 'preview' && (
        <Panel answer={step.answer} status={status} apply={() => void apply(step.answer)} leave={close} />
      )}
      {step.kind === 'done' && <Panel answer={step.answer} status={status} otherwise={step.otherwise} leave={close} />}
    </div>
  );
}

interface PanelProps extends Omit<ReloadProps, 'admin'> {
  readonly answer: ReloadAnswer;
  readonly busy?: boolean;
  readonly otherwise?: boolean;
  readonly apply?: () => void;
  readonly leave?: () => void;
}

function Panel({ answer, status, busy = false, otherwise = false, apply, leave }: PanelProps) {
  const { result, diff, problems, version } = answer;
  const title = useRef<HTMLHeadingElement>(null);
  // Read out, and from here the keyboard goes on to the buttons below.
  // Before it is painted: whoever sees the panel and presses a key at once is in it already.
  useLayoutEffect(() => title.current?.focus(), [answer]);
  return (
    <section class={`panel ${result}`} aria-labelledby="reload-title">
      <h3 id="reload-title" ref={title} tabIndex={-1}>
        {TITLES[result](version)}
      </h3>
      {otherwise && (
        <p class="hot">The files were changed once more after they had been shown: this is what was found now.</p>
      )}
      <Found problems={problems} known={status.config.problems} />
      {diff && result !== 'unchanged' && <Difference diff={diff} status={status} />}
      <p class="actions">
        {result === 'valid' && (
          <button type="button" class="primary" disabled={busy} onClick={apply}>
            Put version {version + 1} in force
          </button>
        )}
        <button type="button" disabled={busy} onClick={leave}>
          {result === 'valid' ? 'Cancel' : 'Close'}
        </button>
      </p>
    </section>
  );
}

interface FoundProps {
  readonly problems: readonly Problem[];
  /** What is shown above already. */
  readonly known: readonly Problem[];
}

function Found({ problems, known }: FoundProps) {
  if (problems.length === 0) return null;
  if (areAmong(problems, known)) return <p>Its problems are those above.</p>;
  return <Problems problems={problems} />;
}

const TITLES: Readonly<Record<ReloadAnswer['result'], (version: number) => string>> = {
  valid: (version) => `This would take the place of version ${version}`,
  applied: (version) => `Version ${version} is in force`,
  unchanged: (version) => `Nothing to reload: the files say what is in force, version ${version}`,
  rejected: (version) => `This cannot be used; version ${version} stays in force`,
};
