import { expect, test } from 'vitest';
import { sha256 } from './picture-set.js';
import { RESAMPLES, resizeImage } from './resize.js';
import type { RawImage } from './resize.js';
import { noise } from './testing.js';

/**
 * Hashes of what Pillow 13.0 makes of the same bytes: 97×131 RGB to three sizes, 61×50 grey to 28×28, 150×60 RGB, whose height
 * shrinks first, to 28×32.
 */
const PILLOW = {
  nearest: [
    '38a99f8d2d5dd564',
    '3e48abebf4258f4a',
    '06c0095b168a6cda',
    'e5333650dcfafb42',
    '6511191d1973fd46',
  ],
  lanczos: [
    'f6d19c25f0ac4857',
    '1036fa560033d0c4',
    '773b869f3ad02dbe',
    '50bd793ff03b2a1a',
    '97448546d4607989',
  ],
  bilinear: [
    '48c8c4b60c7f7606',
    '74f64934c0f93538',
    '601a654af016d0f2',
    '2fa68e17804df053',
    '74789654e4a3ac70',
  ],
  bicubic: [
    '6e2eaa882d70e7db',
    'ee4f4e5f7dffb0bd',
    '8b46e43d6f35b884',
    'caf78eb0f496152c',
    '8ae5a2cc1fd62a41',
  ],
  box: ['753744a8f7e7846e', '3e48abebf4258f4a', '662b820e91ea3eb3', 'c11a0358bac25bcc', 'fa3ec1fcf1ead415'],
  hamming: [
    '4cb334a936aa3f13',
    'bf0975d91d29652e',
    '91b97c66912deaf3',
    '1fe60aed123d0648',
    '64186de2cf5dcc76',
  ],
};

test.each(RESAMPLES)('%s equals Pillow in every byte', (resample) => {
  const hash = (image: RawImage, height: number, width: number) => {
    const resized = resizeImage(image, height, width, resample);
    expect([resized.height, resized.width, resized.channels]).toEqual([height, width, image.channels]);
    return sha256(resized.data).slice(0, 16);
  };
  const [wide, grey, tall] = [noise(97, 131, 3), noise(61, 50, 1), noise(150, 60, 3)];
  expect([
    hash(wide, 32, 40),
    hash(wide, 224, 200),
    hash(wide, 97, 20),
    hash(grey, 28, 28),
    hash(tall, 28, 32),
  ]).toEqual(PILLOW[resample]);
});

test('takes the constants of the Hamming window in float32, as Pillow has them', () => {
  const { data } = resizeImage(noise(64, 213, 1), 64, 28, 'hamming');
  expect(sha256(data).slice(0, 16)).toBe('08c5f1d7e03321ab');
});

test('bilinear weighs with a triangle as wide as the reduction', () => {
  const image = { data: Uint8Array.of(0, 50, 100, 255), width: 4, height: 1, channels: 1 };
  const left = (0 * 0.75 + 50 * 0.75 + 100 * 0.25) / 1.75;
  const right = (50 * 0.25 + 100 * 0.75 + 255 * 0.75) / 1.75;
  expect([...resizeImage(image, 1, 2, 'bilinear').data]).toEqual([Math.round(left), Math.round(right)]);
});

test('returns the image itself where the size is right', () => {
  const image = noise(5, 7, 3);
  expect(resizeImage(image, 5, 7, 'bicubic')).toBe(image);
});
