/** Every form of load, by the name it is asked for. */
import { burstForm } from './forms/burst.ts';
import { cancelForm } from './forms/cancel.ts';
import type { Form } from './forms/form.ts';
import { hangUpsForm } from './forms/hang-ups.ts';
import { mixForm } from './forms/mix.ts';
import { nonceForm } from './forms/nonce.ts';
import { overloadForm } from './forms/overload.ts';
import { restartForm } from './forms/restart.ts';
import { soakForm } from './forms/soak.ts';
import { stalledForm } from './forms/stalled.ts';
import { stampedeForm } from './forms/stampede.ts';
import { streamsForm } from './forms/streams.ts';
import { turnsForm } from './forms/turns.ts';

export const FORMS: Readonly<Record<string, Form>> = {
  soak: soakForm,
  burst: burstForm,
  overload: overloadForm,
  cancel: cancelForm,
  stampede: stampedeForm,
  nonce: nonceForm,
  restart: restartForm,
  turns: turnsForm,
  stalled: stalledForm,
  'hang-ups': hangUpsForm,
  streams: streamsForm,
  mix: mixForm,
};
