import { describe, expect, it } from 'vitest';
import { createTestPlatform } from '../../../test/support/test-platform.ts';
import { modelFilesOptions } from './environment.ts';

function optionsOf(env: Readonly<Record<string, string>>, cacheDir: string | null = null) {
  return modelFilesOptions(createTestPlatform({ env }), { cacheDir, stateDir: '/state' });
}

describe('where the files of models are looked for', () => {
  it('is where the hub’s own client looks, and in the cache of containers', () => {
    expect(optionsOf({ HOME: '/home/me' }).cacheFolders).toEqual(['/home/me/.cache/huggingface/hub']);
    expect(optionsOf({ HOME: '/home/me', XDG_CACHE_HOME: '/xdg' }).cacheFolders).toEqual(['/xdg/huggingface/hub']);
    expect(optionsOf({ HF_HOME: '/hf/' }, '/cache').cacheFolders).toEqual(['/hf/hub', '/cache/hub', '/cache']);
    expect(optionsOf({ HUGGINGFACE_HUB_CACHE: '/old', HF_HOME: '/hf' }).cacheFolders).toEqual(['/old']);
    expect(optionsOf({ HF_HUB_CACHE: '/new/', HUGGINGFACE_HUB_CACHE: '/old' }).cacheFolders).toEqual(['/new']);
    expect(optionsOf({ HF_HOME: '~/hf', HOME: '/home/me' }).cacheFolders).toEqual(['/home/me/hf/hub']);
    expect(optionsOf({}).cacheFolders).toEqual([]);
  });

  it('is the hub, or the mirror that is named, with the token that is named [item 134]', () => {
    expect(optionsOf({}).hub).toBe('https://huggingface.co');
    expect(optionsOf({ HF_ENDPOINT: 'https://mirror.example/' }).hub).toBe('https://mirror.example');
    expect(optionsOf({ HF_ENDPOINT: ' ' }).hub).toBe('https://huggingface.co');
    expect(optionsOf({ HF_TOKEN: ' a\n', HUGGING_FACE_HUB_TOKEN: 'b' }).token).toBe('a');
    expect(optionsOf({ HF_TOKEN: '', HUGGING_FACE_HUB_TOKEN: 'b' }).token).toBe('b');
    expect(optionsOf({ HF_HOME: '/hf' })).toMatchObject({ token: null, tokenFile: '/hf/token' });
    expect(optionsOf({ HF_HOME: '/hf', HF_TOKEN_PATH: '/run/token' }).tokenFile).toBe('/run/token');
  });

  it('is this machine alone when it is offline', () => {
    for (const [value, offline] of [
      ['1', true],
      ['true', true],
      ['ON', true],
      ['0', false],
      ['', false],
    ] as const) {
      expect(optionsOf({ HF_HUB_OFFLINE: value }).offline).toBe(offline);
      expect(optionsOf({ TRANSFORMERS_OFFLINE: value }).offline).toBe(offline);
    }
  });
});
