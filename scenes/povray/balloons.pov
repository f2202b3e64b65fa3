// Balloons over a lake at sunrise. The clock runs once around in a loop without a seam.
#version 3.7;
#include "balloon.inc"

global_settings { assumed_gamma 1.0 max_trace_level 4 }

#declare Round = 2*pi*clock;
#macro Wave(Turns, Phase) sin(Turns*Round + 2*pi*(Phase)) #end

camera {
  location <0.5*Wave(1, 0), 2.5 + 0.12*Wave(1, 0.25), -15>
  right x*image_width/image_height
  angle 50
  look_at <0.1*Wave(1, 0.1), 1.75, 0>
}

#declare SunWay = vnormalize(<-0.045, 0.125, 1>);
light_source { <-60, 26, 30>*100 rgb <1.35, 0.88, 0.52> }
light_source { <40, 40, -60> rgb <0.62, 0.58, 0.68> shadowless }

sky_sphere {
  pigment {
    gradient y
    color_map {
      [0.00 rgb <1.00, 0.62, 0.36>]
      [0.06 rgb <0.98, 0.60, 0.42>]
      [0.16 rgb <0.80, 0.52, 0.55>]
      [0.32 rgb <0.40, 0.42, 0.64>]
      [0.70 rgb <0.11, 0.19, 0.44>]
    }
  }
  pigment {
    bozo
    turbulence 0.6 octaves 5 omega 0.55
    scale <0.55, 0.055, 0.25>
    translate <0.3, 0.02, 0>
    color_map {
      [0.48 rgbt <1, 0.75, 0.6, 1>]
      [0.75 rgbt <1.0, 0.80, 0.70, 0.45>]
      [1.00 rgbt <1.0, 0.90, 0.82, 0.25>]
    }
  }
  pigment {
    spherical
    scale 0.28
    translate SunWay
    color_map {
      [0.00 rgbt <1, 0.7, 0.4, 1>]
      [0.55 rgbt <1, 0.80, 0.5, 0.72>]
      [0.88 rgbt <1, 0.92, 0.7, 0.25>]
      [0.90 rgbt <1.3, 1.2, 1.0, 0>]
    }
  }
}

fog { fog_type 2 distance 230 fog_offset 0 fog_alt 2.0 rgb <0.98, 0.66, 0.50> }

// The lake: long ripples that travel one wavelength in the loop.
plane {
  y, 0
  pigment { rgb <0.015, 0.03, 0.06> }
  normal {
    gradient z
    normal_map {
      [0 average normal_map {
        [1 waves 0.02 frequency 5 phase -clock scale 1.4/120 translate <0.25, 0, 0.65>]
        [1 bumps 0.035 scale <1.8, 1, 0.5>/120]
      }]
      [0.22 bumps 0.010 scale <1.8, 1, 0.5>/120]
      [0.45 bumps 0.001 scale <1.8, 1, 0.5>/120]
    }
    scale 120
    translate -16*z
  }
  finish { ambient 0 diffuse 0.4 reflection { 0.25, 0.92 falloff 2.5 } specular 0.5 roughness 0.004 }
}

// Hills, the farther the paler; the sine lets each range rise out of the water and sink into it.
#macro Hills(Away, High, Seed, Tone)
  #local Rough = function {
    pattern { wrinkles scale <0.16, 0.5, 0.5> translate Seed*<1.7, 3.1, 0.7> }
  }
  height_field {
    function 240, 60 { Rough(x, y, 0)*sin(pi*y) }
    smooth
    translate <-0.5, -0.08, 0>
    scale <Away*3.4, High, Away*0.3>
    translate <Seed, 0, Away>
    pigment { rgb Tone }
    finish { ambient 0.35 diffuse 0.6 }
  }
#end
Hills(44, 3.6, 2, <0.03, 0.08, 0.11>)
Hills(66, 8.0, 5, <0.10, 0.12, 0.21>)
Hills(110, 20.0, 9, <0.20, 0.19, 0.36>)

#declare Red = <0.78, 0.09, 0.08>;
#declare Gold = <0.98, 0.66, 0.12>;
#declare Cream = <0.96, 0.86, 0.66>;
#declare Teal = <0.03, 0.38, 0.42>;
#declare Navy = <0.06, 0.10, 0.34>;
#declare Plum = <0.36, 0.08, 0.30>;
#declare Coral = <0.95, 0.38, 0.25>;

Balloon(Red, Gold, Cream, <-3.3 + 0.25*Wave(1, 0.1), 3.75 + 0.35*Wave(1, 0), 0>, 1.25, 90*clock)
Balloon(Teal, Cream, Navy, <3.6 + 0.3*Wave(1, 0.6), 2.85 + 0.4*Wave(1, 0.35), 2.5>, 1.0, -90*clock)
Balloon(Navy, Coral, Gold, <1.4 + 0.3*Wave(1, 0.3), 4.9 + 0.4*Wave(1, 0.7), 9>, 1.15, 90*clock)
Balloon(Plum, Gold, Coral, <7.6 + 0.4*Wave(1, 0.2), 5.6 + 0.5*Wave(1, 0.5), 16>, 1.2, -90*clock)
Balloon(Coral, Cream, Teal, <-13 + 0.5*Wave(1, 0.9), 3.6 + 0.5*Wave(1, 0.15), 20>, 1.1, 90*clock)
