/** Draws media/icon.png, the picture of the extension, from media/icon.svg: `node scripts/icon.mjs`. */
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const SIZE = 256;
const media = (name) => fileURLToPath(new URL(`../media/${name}`, import.meta.url));

await sharp(media('icon.svg'), { density: 144 })
  .resize(SIZE, SIZE)
  .png({ compressionLevel: 9 })
  .toFile(media('icon.png'));
