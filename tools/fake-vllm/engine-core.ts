import { closeSync } from 'node:fs';
import { ownerKey, ownerOf, startBeating } from './vram-owner.ts';

/**
 * The second process of an engine: nothing but a title, a memory claim under its pid, and the habit of outliving its
 * leader. It ends by itself after the time given, so that no test can leave one for good.
 */
process.title = 'VLLM::EngineCore';
// The leader waits for this.
closeSync(3);
const lifetime = Number(process.argv[2] ?? '600000');
process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));
setTimeout(() => process.exit(0), Number.isFinite(lifetime) ? lifetime : 600_000);

const vram = process.env['FAKE_VLLM_VRAM_FILE'];
if (vram !== undefined && vram !== '') startBeating(vram, ownerKey(ownerOf(process.pid)));
