/** Plans in words. Client, operator, log and dashboard read the same sentences. */
import { formatSize } from '../../units.ts';
import type { Model } from '../state.ts';
import type { Holder, Plan, Shortage } from './plan.ts';

const WHY: Readonly<Record<Holder['why'], string>> = {
  pinned: 'pinned',
  busy: 'busy',
  starting: 'starting',
  leaving: 'leaving',
  idle: 'idle',
  stuck: 'not seen to be gone',
};

export function explainShortage(model: Model, shortage: Shortage): string {
  const { deviceId, neededBytes, missingBytes, holders, devices } = shortage;
  if (deviceId === null) {
    return `Model '${model.name}' has no device it may use: ${model.settings.deviceIds.length === 0 ? 'none is configured' : `${model.settings.deviceIds.join(', ')} cannot take a start now`}.`;
  }
  const on = devices > 1 ? `each of ${devices} devices` : `a device`;
  const who = holders.map((holder) => `${holder.model} (${formatSize(holder.bytes)}, ${WHY[holder.why]})`);
  const foreign =
    shortage.foreignBytes > 0 ? [`processes outside the gateway (${formatSize(shortage.foreignBytes)})`] : [];
  const held = [...who, ...foreign];
  const holderText = held.length > 0 ? ` Held by ${held.join(', ')}.` : '';
  return `Model '${model.name}' needs ${formatSize(neededBytes)} on ${on}; ${formatSize(Math.max(0, missingBytes))} are missing on ${deviceId}.${holderText}`;
}

export function explainPlan(model: Model, plan: Plan): string {
  if (plan.kind === 'wait') return `${explainShortage(model, plan.shortage)} It waits for them.`;
  if (plan.kind === 'impossible') {
    const remedy = plan.never
      ? 'Give it a larger device, more devices, or less memory.'
      : 'Unpin or unload what holds them.';
    return `${explainShortage(model, plan.shortage)} ${remedy}`;
  }
  const places = [...plan.reservations].map(([id, bytes]) => `${formatSize(bytes)} on ${id}`).join(', ');
  if (places === '') return `Model '${model.name}' takes no device memory.`;
  return plan.victims.length > 0
    ? `Model '${model.name}' gets ${places} as soon as ${plan.victims.join(' and ')} ${plan.victims.length > 1 ? 'have' : 'has'} left.`
    : `Model '${model.name}' gets ${places}.`;
}
