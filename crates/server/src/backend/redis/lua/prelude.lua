-- What every script begins with. All keys of a shard lie in one hash tag; KEYS[1] is its `meta`.
-- Numbers are doubles: exact below 2^53, and written as text by string.format alone.
local meta = KEYS[1]
local p = string.sub(meta, 1, -5)
local TOMBSTONE = 281474976710655
local s = redis.call('HMGET', meta, 'epoch', 'n', 'm', 'a', 'top', 'bytes', 'version', 'sealed', 'et', 'ord')
if not s[1] then return redis.error_reply('EVSMISSING the shard is not there') end

-- Flags of a slot's record: 1 the consumer `default` is the record itself, 2 the rows are in a hash, 4 it ever had one,
-- 8 it lost something to the retention.
local RECORD = '>I6I2I6I6I2'
local ROW = '>I6I2I6I6'

local function id(seq) return '0-' .. string.format('%.0f', seq) end

local function record(slot)
  local bytes = redis.call('GETRANGE', p .. 'acked', slot * 22, slot * 22 + 21)
  if #bytes < 22 then return 0, 0, 0, 0, 0 end
  local acked, ord, last, seen, flags = struct.unpack(RECORD, bytes)
  return acked, ord, last, seen, flags
end

local function put(slot, acked, ord, last, seen, flags)
  redis.call('SETRANGE', p .. 'acked', slot * 22, struct.pack(RECORD, acked, ord, last, seen, flags))
end

local function base(slot)
  local bytes = redis.call('GETRANGE', p .. 'base', slot * 6, slot * 6 + 5)
  if #bytes < 6 then return 0 end
  return (struct.unpack('>I6', bytes))
end

local function lost(t) return tonumber(redis.call('HGET', p .. 'lost', t) or '0') end

-- Drops what is spilled up to `to`; `from` is what was dropped before.
local function trim(slot, t, from, to)
  if to <= from then return end
  local top = base(slot)
  if from >= top then return end
  if to >= top then
    redis.call('UNLINK', p .. 'q:' .. t)
    redis.call('ZREM', p .. 'spilled', t)
    redis.call('HDEL', p .. 'total', t)
  else
    redis.call('XTRIM', p .. 'q:' .. t, 'MINID', id(to + 1))
  end
end

-- The minimum over the rows of a slot, which never goes back, and the newest of their acks.
local function minimum(t, acked)
  local low, newest = nil, 0
  for _, row in ipairs(redis.call('HVALS', p .. 'c:' .. t)) do
    local a, _, last = struct.unpack(ROW, row)
    if not low or a < low then low = a end
    if last > newest then newest = last end
  end
  return math.max(acked, low or acked), newest
end

-- The row of the consumer `default` leaves the record as soon as another consumer comes.
local function spread(t, acked, ord, last, seen, flags)
  if bit.band(flags, 2) == 0 then
    if bit.band(flags, 1) ~= 0 then
      redis.call('HSET', p .. 'c:' .. t, 'default', struct.pack(ROW, acked, ord, last, seen))
    end
    flags = bit.bor(bit.band(flags, 65534), 2)
  end
  return flags
end
