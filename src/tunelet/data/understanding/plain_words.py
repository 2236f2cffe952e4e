"""Plain words that stand in the place of class names in some episodes of meta-training. They mean nothing there.

Example:
    >>> "lantern" in PLAIN_WORDS, len(PLAIN_WORDS) == len(set(PLAIN_WORDS))
    (True, True)
"""

from __future__ import annotations

_WORDS = """
acorn anchor apron arrow atlas attic axle badge bagel bamboo barrel basket beacon beaver bench bicycle biscuit blanket
bonnet bottle boulder bracket branch brick bridge broom bucket button cabin cactus camera candle canoe carpet cedar
cellar chalk chimney circle clover cobble comet compass copper coral corner cotton cradle crane crayon cricket crystal
cupboard curtain cushion dagger daisy desert diamond dolphin donkey drawer drum eagle easel elbow ember engine falcon
feather fence fiddle flannel flute forest fountain funnel galaxy garden garlic gate ginger glacier glove goblet
granite grape gravel guitar hammer hammock harbor harvest hazel hedge helmet hinge honey hoof island ivory jacket jar
jungle kettle keyhole kitten ladder lagoon lamp lantern lasso lemon lever lilac linen lobster locket lumber magnet
mango maple marble market meadow melon mirror mitten monsoon mosaic muffin mustard napkin needle nickel nutmeg oak oar
oasis olive onion orbit orchard otter oven oyster paddle palace panda paper parrot pasture pebble pelican pencil
pepper piano pillow pine planet plum pocket pony poplar prairie prism pudding puddle pulley pumpkin quarry quartz
quilt rabbit radish raft ribbon river rocket roof rope saddle saffron sandal satchel saucer scarf shell shovel silver
sketch slipper smoke spider spoon squirrel stable statue steam string sugar tablet tailor tambourine teapot temple
thimble thunder ticket timber tomato tower trolley trumpet tulip tunnel turtle umbrella valley vanilla velvet violin
volcano wagon walnut water whistle willow window wool yarn zebra zipper
"""

#: Words of everyday things and doings; none speaks of a feeling or an answer.
PLAIN_WORDS: tuple[str, ...] = tuple(_WORDS.split())
