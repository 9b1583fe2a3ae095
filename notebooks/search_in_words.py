"""Ask for sounds in words and with pictures: what a query goes to, what it finds, and where it fails.

    $ python notebooks/search_in_words.py exp/esc10/JoinedGeneral "dog barking" "wolf growl -speech" photo.jpg

The index must be of GeneralEncoder or JoinedGeneral; `boiler demo` makes one of synthesized sounds. Pictures need the
network that `boiler encoders add efficientnet-lite0` fetches once.
"""

# %% An index
import math
import sys
from collections import Counter
from pathlib import Path

from PIL import Image, ImageDraw

from boiler.crossmodal import vocabulary
from boiler.errors import BoilerError
from boiler.search.nearest import ByPicture, ByText, Nearest

model_dir, *queries = sys.argv[1:]
texts = [query for query in queries if not Path(query).is_file()]
nearest = Nearest(model_dir)
print(nearest)


def show(seed: ByText | ByPicture, k: int = 5) -> None:
    """Print what a query goes to and what it finds, or why it finds nothing."""
    try:
        result = nearest.query(seed, k)
    except BoilerError as error:
        print(f"  nothing: {error}")
        return
    (understood,) = result.understood
    if understood.seen:
        print("  sees", ", ".join(f"{one.name} {one.score:.2f}" for one in understood.seen[:3]))
    else:
        print("  understands", understood.text.describe())
    print("  goes to", ", ".join(f"{one.name} {one.score:.2f}" for one in understood.wanted))
    for match in result.matches:
        print(f"  {match.similarity:.2f}  {match.id}: {', '.join(one.name for one in match.words[:3])}")


# %% The words themselves: nearest by how they are used
words = vocabulary.load()
for word in ("hound", "thunder", "cello"):
    print(f"{word}: {', '.join(near for near, _ in words.nearest(words.vector(word), 6)[1:])}")

# %% Queries in words: the kinds of sounds they go to, and what is found
for text in texts:
    print(f"\n{text}:")
    show(ByText(text))

# %% A picture that is drawn here, and those that were given: what it shows goes to kinds of sounds, by its names
SIDE = 600
clock = Image.new("RGB", (SIDE, SIDE), "white")
pen = ImageDraw.Draw(clock)
pen.ellipse((20, 20, SIDE - 20, SIDE - 20), outline="black", width=16)


def on_dial(hour: float, length: float) -> tuple[float, float]:
    angle = math.radians(30 * hour - 90)
    return SIDE / 2 + length * math.cos(angle), SIDE / 2 + length * math.sin(angle)


for hour in range(1, 13):
    pen.text(on_dial(hour, 220), str(hour), fill="black", font_size=44, anchor="mm")
for hour, length in ((1, 140), (5, 200)):
    pen.line(((SIDE / 2, SIDE / 2), on_dial(hour, length)), fill="black", width=14)
print("\nthe drawing of a clock:")
show(ByPicture(clock))
for query in queries:
    if query not in texts:
        print(f"\n{query}:")
        show(ByPicture(query))

# %% Words with a sound: more like the best match of the first query, but also like the last query
if len(texts) > 1:
    first = nearest.by_text(texts[0], 1)[0]
    print(f"\n{first.id} and {texts[-1]}:")
    for match in nearest.query([first.n, ByText(texts[-1])], 3).matches:
        print(f"  {match.similarity:.2f}  {match.id}")

# %% What it does not understand. Words that no vocabulary of English holds, and words to avoid alone, are refused
for text in ("xyzzyx", "-dog"):
    print(f"\n{text}:")
    show(ByText(text))

# %% A moment and a mood are known words, but name no sound: they go to kinds of sounds all the same, far-fetched ones
for text in ("last tuesday", "nostalgia"):
    print(f"\n{text}:")
    show(ByText(text), 2)

# %% The order of words does not count
one, other = (nearest.by_text(text, 5) for text in ("rain after dog", "dog after rain"))
print("\nrain after dog, dog after rain: the same answers:", [match.n for match in one] == [match.n for match in other])

# %% Nor is there a picture that shows nothing: an empty one is seen as something, with little probability
print("\nan empty picture:")
show(ByPicture(Image.new("RGB", (300, 300), "white")), 2)

# %% What the collection sounds like: the most probable kind of each sound. Kinds that surprise are what it mistakes
kinds = Counter(nearest.words(item.n, 1)[0].name for item in nearest.items(limit=1_000) if not item.silent)
print("\nmost frequent kinds:", ", ".join(f"{name} {count}" for name, count in kinds.most_common(12)))

# %% Those that are close together on the map are its landmarks
marks = [f"{one.name} ({one.x:.2f}, {one.y:.2f})" for one in nearest.landmarks()]
print("words on the map:", ", ".join(marks) or "none")
