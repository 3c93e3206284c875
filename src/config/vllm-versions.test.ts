import { describe, expect, it } from 'vitest';
import {
  ggufProblem,
  hasFlag,
  imageVersion,
  missingFlag,
  NEWEST_VLLM,
  parseVllmVersion,
  versionNumber,
  versionText,
} from './vllm-versions.ts';

describe('[item 95] the version of vLLM in an image', () => {
  it.each<[string, string | null]>([
    ['vllm/vllm-openai:v0.16.0', '0.16'],
    ['vllm/vllm-openai:v0.10.2', '0.10.2'],
    ['vllm/vllm-openai:v0.11.1rc2', '0.11.1'],
    ['vllm/vllm-openai:v0.19.1-cu130', '0.19.1'],
    ['vllm/vllm-openai-cpu:v0.19.1-x86_64', '0.19.1'],
    ['registry.example:5000/mirror/vllm-openai:0.23', '0.23'],
    ['vllm/vllm-openai:v0.16.0@sha256:0123', '0.16'],
    ['vllm/vllm-openai:latest', null],
    ['vllm/vllm-openai:nightly', null],
    ['vllm/vllm-openai', null],
    ['vllm/vllm-openai@sha256:0123', null],
    ['registry.example:5000/vllm-openai', null],
    // Numbers of somebody else's product.
    ['lmcache/vllm-openai:v0.3.1', null],
    ['ollama/ollama:v0.16.0', null],
    ['my/server:v0.16.0', null],
  ])('%s is %s', (image, version) => {
    const found = imageVersion(image);
    expect(found === null ? null : versionText(found)).toBe(version);
  });

  it('is also read as the engine says it', () => {
    expect(parseVllmVersion('0.10.2.dev378+g4d7fe40fc.d20250829')).toBe(versionNumber(0, 10, 2));
    expect(parseVllmVersion('0.32.0')).toBe(NEWEST_VLLM);
    expect(parseVllmVersion('nightly')).toBeNull();
    expect(parseVllmVersion('1.0.0')).toBeGreaterThan(NEWEST_VLLM);
  });
});

describe('flags that came and went', () => {
  const at = (minor: number): { kind: 'version'; version: number } => ({
    kind: 'version',
    version: versionNumber(0, minor),
  });

  it('are passed only to versions that surely have them', () => {
    expect(hasFlag(at(10), '--kv-cache-memory-bytes')).toBe(false);
    expect(hasFlag(at(16), '--kv-cache-memory-bytes')).toBe(true);
    expect(hasFlag(at(15), '--disable-access-log-for-endpoints')).toBe(false);
    expect(hasFlag(at(16), '--disable-access-log-for-endpoints')).toBe(true);
    expect(hasFlag(at(18), '--task')).toBe(true);
    expect(hasFlag(at(19), '--task')).toBe(false);
    expect(hasFlag(at(8), '--max-num-seqs')).toBe(true);
  });

  it('are not passed to an engine whose version nobody knows', () => {
    expect(hasFlag({ kind: 'common' }, '--kv-cache-memory-bytes')).toBe(false);
    expect(hasFlag({ kind: 'common' }, '--task')).toBe(false);
    expect(hasFlag({ kind: 'common' }, '--max-num-seqs')).toBe(true);
  });

  it('are explained to who passes them', () => {
    expect(missingFlag(versionNumber(0, 19), '--swap-space')).toBe('vLLM 0.19 has no --swap-space any more');
    expect(missingFlag(versionNumber(0, 23), '--task')).toBe(
      'vLLM 0.23 has no --task any more; use --runner and --convert',
    );
    expect(missingFlag(versionNumber(0, 10, 2), '--runner')).toBe('vLLM 0.10.2 has no --runner yet; it is in 0.11');
    expect(missingFlag(versionNumber(0, 16), '--swap-space')).toBeNull();
  });
});

describe('GGUF', () => {
  it('is in the versions before 0.24, by name from 0.13 on', () => {
    expect(ggufProblem(versionNumber(0, 16), false)).toBeNull();
    expect(ggufProblem(versionNumber(0, 12), true)).toBeNull();
    expect(ggufProblem(versionNumber(0, 12), false)).toContain('only from a file');
    expect(ggufProblem(versionNumber(0, 24), true)).toContain('vllm-gguf-plugin');
    expect(ggufProblem(NEWEST_VLLM, false)).toContain('vLLM 0.32');
  });
});
