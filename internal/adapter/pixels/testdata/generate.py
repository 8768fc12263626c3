"""Writes the sample images of the tests. Needs python3-pil, python3-opencv, libjpeg-turbo-progs: python3 generate.py

All show one scene of 48x32 px: quadrants red, green (upper row), blue, pale (lower row).
"""
import os
import subprocess

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

HERE = os.path.dirname(os.path.abspath(__file__))
COLOURS = [[(200, 40, 40), (40, 180, 60)], [(40, 60, 200), (230, 220, 210)]]


def scene():
    out = np.zeros((32, 48, 3), np.uint8)
    for row in range(2):
        for column in range(2):
            out[16 * row:16 * row + 16, 24 * column:24 * column + 24] = COLOURS[row][column]
    return out


def path(name):
    return os.path.join(HERE, name)


def tool(name, *arguments):
    with open(path(name), "wb") as file:
        subprocess.run(arguments, check=True, stdout=file)


def main():
    rgb = scene()
    image = Image.fromarray(rgb)
    image.save(path("420.jpg"), quality=95, subsampling=2)
    image.save(path("422.jpg"), quality=95, subsampling=1)
    image.save(path("444.jpg"), quality=95, subsampling=0)
    image.save(path("progressive.jpg"), quality=95, progressive=True)
    image.convert("L").save(path("grey.jpg"), quality=95)
    image.convert("CMYK").save(path("cmyk.jpg"), quality=95)
    cv2.imwrite(path("restart.jpg"), rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_RST_INTERVAL, 1])
    image.save("/tmp/scene.ppm")
    tool("arithmetic.jpg", "cjpeg", "-arithmetic", "-quality", "95", "/tmp/scene.ppm")
    with open("/tmp/scans.txt", "w", encoding="ascii") as file:
        file.write("0;\n1;\n2;\n")
    tool("separate.jpg", "jpegtran", "-scans", "/tmp/scans.txt", path("444.jpg"))

    image.save(path("rgb.png"))
    image.convert("L").save(path("grey.png"))
    image.convert("P", palette=Image.ADAPTIVE, colors=4).save(path("palette.png"))
    cv2.imwrite(path("rgb16.png"), rgb[:, :, ::-1].astype(np.uint16) * 257)
    cv2.imwrite(path("grey16.png"), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257)
    clear = np.dstack([rgb, np.full((32, 48), 255, np.uint8)])
    clear[:16, :24, 3] = 0  # the red quadrant is transparent
    Image.fromarray(clear).save(path("alpha.png"))
    Image.fromarray(clear).convert("LA").save(path("grey-alpha.png"))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path("turned.png"), exif=exif)

    image.save(path("rgb.bmp"))
    image.convert("P", palette=Image.ADAPTIVE, colors=4).save(path("palette.bmp"))
    image.save(path("raw.tiff"))
    image.save(path("lzw.tiff"), compression="tiff_lzw")
    image.save(path("deflate.tiff"), compression="tiff_adobe_deflate")
    image.convert("L").save(path("grey.tiff"))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 6
    image.save(path("turned.tiff"), tiffinfo=tags)
    image.save(path("lossy.webp"), quality=95)
    image.save(path("lossless.webp"), lossless=True)
    Image.fromarray(clear).save(path("alpha.webp"), lossless=True)
    image.save(path("turned.webp"), lossless=True, exif=exif)


if __name__ == "__main__":
    main()
