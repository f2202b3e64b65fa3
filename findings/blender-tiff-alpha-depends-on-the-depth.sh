#!/usr/bin/env bash
# bpy 4.2.23 and 5.3.0: the same half-transparent picture saved as TIFF has its alpha multiplied into the colours with 16 bits
# (ExtraSamples 1) and not with 8 bits (ExtraSamples 2); PNG never has. Readers that go by the number of channels show dark edges
# for one of them; OpenImageIO's oiio:UnassociatedAlpha leaves each as it is. Needs Python 3.11 and 3.13.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cat >scene.py <<'P'
import array, os, bpy
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
picture = bpy.data.images.new("half", 16, 16, alpha=True, float_buffer=True)
picture.pixels.foreach_set(array.array("f", [0.25, 0.25, 0.25, 0.5] * 256))
scene = bpy.context.scene; scene.view_settings.view_transform = "Standard"
pictures = scene.render.image_settings
for kind, depth, name in (("PNG", "16", "a16.png"), ("TIFF", "8", "a8.tif"), ("TIFF", "16", "a16.tif")):
    if hasattr(pictures, "media_type"): pictures.media_type = "IMAGE"
    pictures.file_format, pictures.color_mode, pictures.color_depth = kind, "RGBA", depth
    picture.save_render(os.path.abspath(name))
os._exit(0)
P
cat >look.py <<'P'
import sys, OpenImageIO
wish = OpenImageIO.ImageSpec(); wish.attribute("oiio:UnassociatedAlpha", 1)
for name in ("a16.png", "a8.tif", "a16.tif"):
    source = OpenImageIO.ImageInput.open(name, wish)
    alone = source.spec().get_int_attribute("oiio:UnassociatedAlpha")
    print(sys.argv[1], name, *(f"{value:.2f}" for value in source.read_image("float")[5, 5]), "alone" if alone else "multiplied in")
P
seen=$(for pair in 3.11:4.2.23 3.13:5.3.0; do
  version=${pair#*:}; "python${pair%:*}" -m venv "v$version"
  "v$version/bin/pip" -q install --disable-pip-version-check "bpy==$version" "openimageio==3.2.2.0" >/dev/null 2>&1
  "v$version/bin/python" scene.py >/dev/null 2>&1; "v$version/bin/python" look.py "$version"; rm -rf "v$version"
done)
echo "$seen"
[ "$seen" = "4.2.23 a16.png 0.74 0.74 0.74 0.50 alone
4.2.23 a8.tif 0.74 0.74 0.74 0.50 alone
4.2.23 a16.tif 0.37 0.37 0.37 0.50 multiplied in
5.3.0 a16.png 0.74 0.74 0.74 0.50 alone
5.3.0 a8.tif 0.74 0.74 0.74 0.50 alone
5.3.0 a16.tif 0.37 0.37 0.37 0.50 multiplied in" ]
