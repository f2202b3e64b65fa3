// Balloons over a lake at sunrise. The clock runs once around in a loop without a seam.
#version 3.7;
#include "balloon.inc"

global_settings { assumed_gamma 1.0 max_trace_level 4 }

#declare Round = 2*pi*clock;
#macro Wave(Turns, Phase) sin(Turns*Round + 2*pi*(Phase)) #end

camera {
  location <0.5*Wave(1, 0), 2.3 + 0.12*Wave(1, 0.25), -13>
  right x*image_width/image_height
  angle 50
  look_at <0.1*Wave(1, 0.1), 3.05, 0>
}

#declare SunWay = vnormalize(<-0.62, 0.20, 1>);
light_source { SunWay*4000 rgb <1.45, 0.98, 0.62> }
light_source { <-40, 45, -60> rgb <0.50, 0.52, 0.66> shadowless }

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

fog { fog_type 2 distance 95 fog_offset 0.2 fog_alt 3.2 rgb <0.98, 0.66, 0.50> }

// The lake: long ripples that travel one wavelength in the loop.
plane {
  y, 0
  pigment { rgb <0.015, 0.03, 0.06> }
  normal {
    average
    normal_map {
      [1 waves 0.05 frequency 5 phase -clock scale 1.4 translate <30, 0, 80>]
      [1 bumps 0.11 scale <1.6, 1, 0.45>]
    }
  }
  finish { ambient 0 diffuse 0.4 reflection { 0.25, 0.92 fresnel off falloff 3 } specular 0.5 roughness 0.004 }
}

// Hills, the farther the paler.
#macro Hills(Away, High, Seed, Tone)
  height_field {
    function 220, 60 {
      pattern { wrinkles scale <0.16, 0.5, 0.5> translate Seed*<1.7, 3.1, 0.7> }
    }
    smooth
    translate <-0.5, -0.22, 0>
    scale <Away*2.6, High, Away*0.25>
    translate Away*z
    pigment { rgb Tone }
    finish { ambient 0.35 diffuse 0.6 }
  }
#end
Hills(34, 5.0, 1, <0.10, 0.12, 0.16>)
Hills(60, 11.0, 5, <0.16, 0.17, 0.26>)
Hills(105, 24.0, 9, <0.24, 0.24, 0.38>)

#declare Red = <0.78, 0.09, 0.08>;
#declare Gold = <0.98, 0.66, 0.12>;
#declare Cream = <0.96, 0.86, 0.66>;
#declare Teal = <0.03, 0.38, 0.42>;
#declare Navy = <0.06, 0.10, 0.34>;
#declare Plum = <0.36, 0.08, 0.30>;
#declare Coral = <0.95, 0.38, 0.25>;

Balloon(Red, Gold, Cream, <-2.9 + 0.25*Wave(1, 0.1), 4.1 + 0.35*Wave(1, 0), 0>, 1.25, 45*clock)
Balloon(Teal, Cream, Navy, <3.1 + 0.3*Wave(1, 0.6), 3.1 + 0.4*Wave(1, 0.35), 2.5>, 1.0, -45*clock)
Balloon(Navy, Coral, Gold, <0.6 + 0.3*Wave(1, 0.3), 5.6 + 0.4*Wave(1, 0.7), 9>, 1.15, 45*clock)
Balloon(Plum, Gold, Coral, <7.6 + 0.4*Wave(1, 0.2), 6.6 + 0.5*Wave(1, 0.5), 16>, 1.2, -45*clock)
Balloon(Coral, Cream, Teal, <-9.5 + 0.5*Wave(1, 0.9), 3.6 + 0.5*Wave(1, 0.15), 20>, 1.1, 45*clock)
